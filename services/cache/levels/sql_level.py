"""The lasting level: one table in SQLite or PostgreSQL."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from sqlalchemy import BigInteger, Column, Double, LargeBinary, MetaData, Table, Text, delete, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.cache.entry import Entry
from services.cache.levels.entry_codec import decode, encode
from services.cache.levels.level import CorruptEntryError, LevelUnavailableError
from services.cache.outages.guard import PAUSE_SECONDS, Guard
from services.cache.outages.outage import Outage
from services.cache.policies import Policy

PURGE_BATCH = 10
"""So many rows are deleted at once: SQLite lets nobody else write meanwhile, 0.2 s if all are of 4 MB."""
PURGE_TIMEOUT_SECONDS = 5.0
"""For each batch, because nobody waits for it."""

Answer = TypeVar("Answer")

metadata = MetaData()

cache_entries = Table(
    "cache_entries",
    metadata,
    Column("key", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double, nullable=False, index=True),
)

# Both databases know it, but SQLAlchemy has it only in the insert of each dialect. It has no RETURNING: abandoned with
# a row that nobody fetched, it would hold SQLite's lock.
_STORE = text(
    "INSERT INTO cache_entries (key, tenant, policy, data, generation, created, expires)"
    " VALUES (:key, :tenant, :policy, :data, :generation, :created, :expires)"
    " ON CONFLICT (key) DO UPDATE SET tenant = excluded.tenant, policy = excluded.policy, data = excluded.data,"
    " generation = excluded.generation, created = excluded.created, expires = excluded.expires"
    " WHERE cache_entries.expires <= :now OR cache_entries.generation < excluded.generation"
    " OR cache_entries.generation = excluded.generation"
    " AND (NOT :promoted OR cache_entries.created <= excluded.created)"
)


class SqlLevel:
    """A Level over an engine. A look-up or store takes at most `timeout_seconds`.

    Its opener calls `aclose` and then disposes of the engine. `clock` is a steady clock in seconds, such as
    time.monotonic. A statement that a lock holds up in SQLite goes on waiting in its connection after the timeout; open
    the engine with `lock_timeout_seconds` no longer than the timeout, so that the connections are soon free again.
    """

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        timeout_seconds: float,
        clock: Callable[[], float],
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._engine = engine
        self._timeout_seconds = timeout_seconds
        self._guard = Guard(
            Outage("the cache's database", setting="SHOAL_DATABASE_URL"),
            failures=(SQLAlchemyError, OSError, TimeoutError),
            refusal=LevelUnavailableError,
            meanwhile="answers are found and kept at the other levels",
            clock=clock,
            pause_seconds=pause_seconds,
        )
        self._tasks: set[asyncio.Task[Any]] = set()

    async def aclose(self) -> None:
        """Waits for what is still under way though its caller has left. Call it when nobody uses the level any more.

        A loop that ends before that would cancel a second time what is being cleaned up, and aiosqlite hangs then.
        """
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def get(self, key: str, now: float) -> Entry | None:
        with self._guard.use():
            data = await self._in_time(self._data(key, now), self._timeout_seconds)
        if data is None:
            return None
        if not isinstance(data, bytes):
            raise CorruptEntryError("the column holds no bytes")
        entry = decode(key, data)
        return entry if entry.is_live(now) else None

    async def put(self, key: str, entry: Entry, policy: Policy, now: float, *, promoted: bool = False) -> bool:
        """False too if there is an entry here that this one may not replace."""
        if not entry.is_live(now):
            return False
        row = {
            "key": key,
            "tenant": key.rsplit("/", maxsplit=2)[0],
            "policy": policy.name.value,
            "data": encode(key, entry, compress=policy.compress),
            "generation": entry.generation,
            "created": entry.created,
            "expires": entry.expires,
            "now": now,
            "promoted": promoted,
        }
        with self._guard.use():
            return await self._in_time(self._store(row), self._timeout_seconds)

    async def purge(self, now: float) -> int:
        """Deletes the rows that have expired, a batch at a time. Returns how many. Raises LevelUnavailableError."""
        purged = 0
        while True:
            with self._guard.use():
                batch = await self._in_time(self._purge_batch(now), PURGE_TIMEOUT_SECONDS)
            if batch == 0:
                return purged
            purged += batch

    def holdings(self) -> None:
        """Only the database knows."""

    async def _data(self, key: str, now: float) -> object:
        query = select(cache_entries.c.data).where(cache_entries.c.key == key, cache_entries.c.expires > now)
        async with self._engine.connect() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def _store(self, row: Mapping[str, object]) -> bool:
        async with self._engine.begin() as connection:
            return (await connection.execute(_STORE, row)).rowcount == 1

    async def _purge_batch(self, now: float) -> int:
        # SQLite ignores the locks. In PostgreSQL, two processes that purge at once pass over each other's rows.
        expired = select(cache_entries.c.key).where(cache_entries.c.expires <= now).order_by(cache_entries.c.expires)
        batch = expired.limit(PURGE_BATCH).with_for_update(skip_locked=True)
        async with self._engine.begin() as connection:
            return (await connection.execute(delete(cache_entries).where(cache_entries.c.key.in_(batch)))).rowcount

    async def _in_time(self, work: Coroutine[Any, Any, Answer], seconds: float) -> Answer:
        """What the work returns. Raises TimeoutError when it takes longer; then it is cancelled, and not waited for.

        A driver whose call is cancelled first waits for its database again. So the work is a task of its own, which
        nothing but its timeout cancels.
        """
        task = asyncio.create_task(_cancelled_after(seconds, work))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait((task,), timeout=seconds)
        if not task.done():
            raise TimeoutError
        return task.result()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """Its error is for whoever waits for it, if anybody still does."""
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()


async def _cancelled_after(seconds: float, work: Coroutine[Any, Any, Answer]) -> Answer:
    async with asyncio.timeout(seconds):
        return await work

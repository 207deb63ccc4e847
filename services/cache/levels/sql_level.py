"""The lasting level, in SQLite or PostgreSQL."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.batching import Batcher
from services.cache.entry import Entry
from services.cache.levels import sql_table
from services.cache.levels.entry_codec import decode, encode
from services.cache.levels.level import CorruptEntryError, LevelUnavailableError
from services.cache.levels.sql_table import Row
from services.cache.outages.guard import PAUSE_SECONDS, Guard
from services.cache.outages.outage import Outage
from services.cache.policies import Policy

PURGE_TIMEOUT_SECONDS = 5.0
"""For each batch, because nobody waits for it."""
FOUND_TOGETHER = 8
"""So many entries may be looked up in one transaction: each may be large, and nobody knows before."""
STORED_TOGETHER = 16
LARGEST_SHARED_BYTES = 64 << 10
"""What is larger is stored in a transaction of its own, so that no batch takes long because of it."""

Answer = TypeVar("Answer")


class SqlLevel:
    """A Level over an engine. A look-up or store takes at most `timeout_seconds`. What is asked for at about the same
    time shares a transaction, which costs more than what is done in it, and its fate: nobody must be able to ask for
    what the database refuses.

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
        self._look_ups = Batcher(self._look_up, largest=FOUND_TOGETHER)
        # SQLite has one writer at a time. Large ones do not wait here, but they do there.
        self._stores = Batcher(self._store, largest=STORED_TOGETHER, most_in_flight=1)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def aclose(self) -> None:
        """Waits for what is still under way though its caller has left. Call it when nobody uses the level any more.

        A loop that ends before that would cancel a second time what is being cleaned up, and aiosqlite hangs then.
        """
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def get(self, key: str, now: float) -> Entry | None:
        with self._guard.use():
            async with asyncio.timeout(self._timeout_seconds):
                data = await self._look_ups.ask((key, now))
        if data is None:
            return None
        if not isinstance(data, bytes):
            raise CorruptEntryError("the column holds no bytes")
        entry = decode(key, data)
        return entry if entry.is_live(now) else None

    async def put(self, key: str, entry: Entry, policy: Policy, now: float, *, promoted: bool = False) -> bool:
        """False too if there is an entry here that this one may not replace, or one takes its place at once."""
        if not entry.is_live(now):
            return False
        row = Row(
            key=key,
            tenant=key.rsplit("/", maxsplit=2)[0],
            policy=policy.name.value,
            data=encode(key, entry, compress=policy.compress),
            generation=entry.generation,
            created=entry.created,
            expires=entry.expires,
            now=now,
            promoted=promoted,
        )
        with self._guard.use():
            if len(row["data"]) > LARGEST_SHARED_BYTES:
                (stored,) = await self._store([row])
                return stored
            async with asyncio.timeout(self._timeout_seconds):
                return await self._stores.ask(row)

    async def purge(self, now: float) -> int:
        """Deletes the rows that have expired, a batch at a time. Returns how many. Raises LevelUnavailableError."""
        purged = 0
        while True:
            with self._guard.use():
                batch = await self._in_time(sql_table.purge_batch(self._engine, now), PURGE_TIMEOUT_SECONDS)
            if batch == 0:
                return purged
            purged += batch

    def holdings(self) -> None:
        """Only the database knows."""

    async def _look_up(self, asked: Sequence[tuple[str, float]]) -> list[object]:
        """The column's contents for each key and time, None where nothing is."""
        keys, times = zip(*asked, strict=True)
        found = await self._in_time(sql_table.data_of(self._engine, keys, min(times)), self._timeout_seconds)
        return [found.get(key) for key in keys]

    async def _store(self, rows: Sequence[Row]) -> list[bool]:
        return await self._in_time(sql_table.store(self._engine, rows), self._timeout_seconds)

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

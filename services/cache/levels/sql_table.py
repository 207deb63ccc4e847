"""The table of the lasting level, in SQLite or PostgreSQL, and what is done to it: each call is one transaction."""

from collections.abc import Sequence
from operator import itemgetter
from typing import TypedDict

from sqlalchemy import BigInteger, Column, Double, LargeBinary, MetaData, Table, Text, delete, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

PURGE_BATCH = 10
"""So many rows are deleted at once: SQLite lets nobody else write meanwhile, 0.2 s if all are of 4 MB."""

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


class Row(TypedDict):
    """An entry to be stored, `now`, and whether it is one that was found elsewhere."""

    key: str
    tenant: str
    policy: str
    data: bytes
    generation: int
    created: float
    expires: float
    now: float
    promoted: bool


async def data_of(engine: AsyncEngine, keys: Sequence[str], now: float) -> dict[str, object]:
    """What is in the column of those that have not expired."""
    columns = cache_entries.c
    query = select(columns.key, columns.data).where(columns.key.in_(keys), columns.expires > now)
    async with engine.connect() as connection:
        return {row.key: row.data for row in await connection.execute(query)}


async def store(engine: AsyncEngine, rows: Sequence[Row]) -> list[bool]:
    """Tells of each row whether it is there in the end. A row replaces none of a later generation, and a `promoted` one
    none of its own generation that is newer; so it is among rows of one key, too."""
    # In one order for all, or two that store the same keys would each wait for the other.
    in_order = sorted(rows, key=itemgetter("key"))
    async with engine.begin() as connection:
        stored = (await connection.execute(_STORE, in_order)).rowcount
        if stored == len(rows) == len({row["key"] for row in rows}):
            return [True] * stored
        # SQLite's driver counts all together, PostgreSQL's several not at all.
        columns = cache_entries.c
        query = select(columns.key, columns.generation, columns.created).where(
            columns.key.in_([row["key"] for row in rows])
        )
        there = {row.key: (row.generation, row.created) for row in await connection.execute(query)}
    return [there.get(row["key"]) == (row["generation"], row["created"]) for row in rows]


async def purge_batch(engine: AsyncEngine, now: float) -> int:
    """Deletes the rows that expired first. Returns how many."""
    # SQLite ignores the locks. In PostgreSQL, two processes that purge at once pass over each other's rows.
    expired = select(cache_entries.c.key).where(cache_entries.c.expires <= now).order_by(cache_entries.c.expires)
    batch = expired.limit(PURGE_BATCH).with_for_update(skip_locked=True)
    async with engine.begin() as connection:
        return (await connection.execute(delete(cache_entries).where(cache_entries.c.key.in_(batch)))).rowcount

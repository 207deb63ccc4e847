"""API keys in SQL. The tables are made by the migrations beside this file."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Column, Double, ForeignKey, MetaData, Row, Select, String, Table, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from meshkit.database import reported_as_unavailable
from services.ratelimit.keys import ApiKey
from services.ratelimit.outage import OutageLog

TIMEOUT_SECONDS = 1.0
"""For each use of the database, so that one that hangs is an error and not a wait."""

metadata = MetaData()

tenants = Table(
    "tenants",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("created", Double, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(20), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("tenant", String(64), ForeignKey("tenants.name"), nullable=False, index=True),
    Column("tier", String(32), nullable=False),
    Column("name", String(100), nullable=False),
    Column("created", Double, nullable=False),
    Column("revoked", Double),
)

# Both databases know it, but SQLAlchemy has it only in the insert of each dialect.
_ADD_TENANT = text("INSERT INTO tenants (name, created) VALUES (:name, :created) ON CONFLICT DO NOTHING")


class SqlKeyStore:
    """The engine belongs to the caller, who disposes of it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._outage = OutageLog("the database of API keys", setting="SHOAL_DATABASE_URL")

    async def add(self, key: ApiKey) -> None:
        values = {column.name: getattr(key, column.name) for column in api_keys.columns}
        async with self._transaction() as connection:
            await connection.execute(_ADD_TENANT, {"name": key.tenant, "created": key.created})
            await connection.execute(insert(api_keys).values(values))

    async def find(self, key_hash: str) -> ApiKey | None:
        return await self._one(select(api_keys).where(api_keys.c.hash == key_hash, api_keys.c.revoked.is_(None)))

    async def find_many(self, hashes: Collection[str]) -> dict[str, ApiKey]:
        query = select(api_keys).where(api_keys.c.hash.in_(hashes), api_keys.c.revoked.is_(None))
        async with self._transaction() as connection:
            return {row.hash: _key(row) for row in await connection.execute(query)}

    async def recent(self, count: int) -> list[ApiKey]:
        youngest_first = select(api_keys).order_by(api_keys.c.created.desc(), api_keys.c.id.desc()).limit(count)
        async with self._transaction() as connection:
            return [_key(row) for row in await connection.execute(youngest_first.where(api_keys.c.revoked.is_(None)))]

    async def list_keys(self, *, tenant: str, include_revoked: bool) -> list[ApiKey]:
        query = select(api_keys).order_by(api_keys.c.created, api_keys.c.id)
        if tenant:
            query = query.where(api_keys.c.tenant == tenant)
        if not include_revoked:
            query = query.where(api_keys.c.revoked.is_(None))
        async with self._transaction() as connection:
            return [_key(row) for row in await connection.execute(query)]

    async def update(self, key_id: str, tier: str) -> ApiKey | None:
        good = (api_keys.c.id == key_id, api_keys.c.revoked.is_(None))
        async with self._transaction() as connection:
            await connection.execute(update(api_keys).where(*good).values(tier=tier))
        return await self._one(select(api_keys).where(*good))

    async def revoke(self, key_id: str, now: float) -> ApiKey | None:
        unless_done = update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked.is_(None))
        async with self._transaction() as connection:
            await connection.execute(unless_done.values(revoked=now))
        return await self._one(select(api_keys).where(api_keys.c.id == key_id))

    async def _one(self, query: Select[Any]) -> ApiKey | None:
        # In a transaction of its own: one that is abandoned between a write and a row that nobody fetched would hold
        # SQLite's lock.
        async with self._transaction() as connection:
            row = (await connection.execute(query)).one_or_none()
        return _key(row) if row else None

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        with self._outage.watched(), reported_as_unavailable():
            async with asyncio.timeout(TIMEOUT_SECONDS), self._engine.begin() as connection:
                yield connection


def _key(row: Row[str, str, str, str, str, float, float | None]) -> ApiKey:
    return ApiKey(**row._mapping)

"""Preferences in SQL: one row per user, replaced whole, its version counted up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from meshkit.database import reported_as_unavailable
from services.agent.ports import Preferences
from services.agent.preference_store import conflict

_MAX_VERSION = 2**63 - 1
"""What a BIGINT holds."""

# Both databases know these statements; SQLAlchemy has ON CONFLICT only in the insert of each dialect. A transaction
# that writes reads nothing and has no RETURNING: abandoned with a row that nobody fetched, it would hold SQLite's lock.
_GET = text("SELECT body, version FROM preferences WHERE tenant = :tenant AND user_id = :user_id")
_ADD = text(
    "INSERT INTO preferences (tenant, user_id, body, version) VALUES (:tenant, :user_id, :body, 1)"
    " ON CONFLICT DO NOTHING"
)
_CHANGE = text(
    "UPDATE preferences SET body = :body, version = version + 1"
    " WHERE tenant = :tenant AND user_id = :user_id AND version = :version"
)


class SqlPreferenceStore:
    """Preferences in the agent's database. The engine is disposed of by whoever opened it."""

    def __init__(self, engine: AsyncEngine, *, timeout_seconds: float) -> None:
        """A use of the database that takes longer is an outage: one that hangs must not hang the turns."""
        self._engine = engine
        self._timeout_seconds = timeout_seconds

    async def get(self, tenant: str, user_id: str) -> Preferences:
        async with self._transaction() as connection:
            row = (await connection.execute(_GET, {"tenant": tenant, "user_id": user_id})).one_or_none()
        return Preferences({}, 0) if row is None else Preferences(msgspec.json.decode(row.body), row.version)

    async def put(self, tenant: str, user_id: str, values: dict[str, Any], *, expected_version: int | None) -> int:
        if expected_version is not None and expected_version > _MAX_VERSION:
            raise conflict(expected_version)
        body = msgspec.json.encode(values).decode()
        if expected_version is None:
            return await self._put_whatever_is_there(tenant, user_id, body)
        if not await self._replace(tenant, user_id, body, version=expected_version):
            raise conflict(expected_version)
        return expected_version + 1

    async def _put_whatever_is_there(self, tenant: str, user_id: str, body: str) -> int:
        while True:
            version = (await self.get(tenant, user_id)).version
            if await self._replace(tenant, user_id, body, version=version):
                return version + 1

    async def _replace(self, tenant: str, user_id: str, body: str, *, version: int) -> bool:
        """Whether this version was there; it has a successor then."""
        row = {"tenant": tenant, "user_id": user_id, "body": body}
        async with self._transaction() as connection:
            if version == 0:
                result = await connection.execute(_ADD, row)
            else:
                result = await connection.execute(_CHANGE, {**row, "version": version})
        return result.rowcount == 1

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        with reported_as_unavailable():
            async with asyncio.timeout(self._timeout_seconds), self._engine.begin() as connection:
                yield connection

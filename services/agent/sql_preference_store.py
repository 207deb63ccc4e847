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

# Both databases know these statements; SQLAlchemy has ON CONFLICT only in the insert of each dialect.
_GET = text("SELECT body, version FROM preferences WHERE tenant = :tenant AND user_id = :user_id")
_CHANGE = text(
    "UPDATE preferences SET body = :body, version = version + 1"
    " WHERE tenant = :tenant AND user_id = :user_id AND version = :expected_version RETURNING version"
)
_ADD = text(
    "INSERT INTO preferences (tenant, user_id, body, version) VALUES (:tenant, :user_id, :body, 1)"
    " ON CONFLICT DO NOTHING RETURNING version"
)
_ADD_OR_CHANGE = text(
    "INSERT INTO preferences (tenant, user_id, body, version) VALUES (:tenant, :user_id, :body, 1)"
    " ON CONFLICT (tenant, user_id) DO UPDATE SET body = excluded.body, version = preferences.version + 1"
    " RETURNING version"
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
        new = {"tenant": tenant, "user_id": user_id, "body": msgspec.json.encode(values).decode()}
        async with self._transaction() as connection:
            if expected_version is None:
                result = await connection.execute(_ADD_OR_CHANGE, new)
            elif expected_version == 0:
                result = await connection.execute(_ADD, new)
            else:
                result = await connection.execute(_CHANGE, {**new, "expected_version": expected_version})
            version: int | None = result.scalar_one_or_none()
        if version is None:
            raise conflict(expected_version or 0)
        return version

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        with reported_as_unavailable():
            async with asyncio.timeout(self._timeout_seconds), self._engine.begin() as connection:
                yield connection

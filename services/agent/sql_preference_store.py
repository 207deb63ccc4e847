"""Preferences in SQL: one row per user, replaced whole, its version counted up."""

from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, MetaData, String, Table, Text, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from meshkit.database import reported_as_unavailable
from services.agent.ports import Preferences
from services.agent.preference_store import conflict

preferences = Table(
    "preferences",
    MetaData(),
    Column("tenant", String(128), primary_key=True),
    Column("user_id", String(128), primary_key=True),
    Column("body", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
)

_MAX_VERSION = 2**63 - 1
"""What a BigInteger holds."""


class SqlPreferenceStore:
    """Preferences in the agent's database. The engine is disposed of by whoever opened it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def get(self, tenant: str, user_id: str) -> Preferences:
        query = select(preferences.c.body, preferences.c.version).where(
            preferences.c.tenant == tenant, preferences.c.user_id == user_id
        )
        with reported_as_unavailable():
            async with self._engine.connect() as connection:
                row = (await connection.execute(query)).one_or_none()
        return Preferences({}, 0) if row is None else Preferences(msgspec.json.decode(row.body), row.version)

    async def put(self, tenant: str, user_id: str, values: dict[str, Any], *, expected_version: int | None) -> int:
        if expected_version is not None and expected_version > _MAX_VERSION:
            raise conflict(expected_version)
        body = msgspec.json.encode(values).decode()
        with reported_as_unavailable():
            try:
                version = await self._replace(tenant, user_id, body, expected_version)
            except IntegrityError:
                # Somebody else put the first version between our update and our insert.
                version = await self._replace(tenant, user_id, body, expected_version)
        if version is None:
            raise conflict(expected_version or 0)
        return version

    async def _replace(self, tenant: str, user_id: str, body: str, expected_version: int | None) -> int | None:
        """The new version, or None if the kept one is not the expected one."""
        change = (
            update(preferences)
            .where(preferences.c.tenant == tenant, preferences.c.user_id == user_id)
            .values(body=body, version=preferences.c.version + 1)
            .returning(preferences.c.version)
        )
        if expected_version is not None:
            change = change.where(preferences.c.version == expected_version)
        async with self._engine.begin() as connection:
            version: int | None = (await connection.execute(change)).scalar_one_or_none()
            if version is None and not expected_version:
                version = await self._insert_first(connection, tenant, user_id, body, expected_version)
        return version

    async def _insert_first(
        self, connection: AsyncConnection, tenant: str, user_id: str, body: str, expected_version: int | None
    ) -> int | None:
        present = select(preferences.c.version).where(preferences.c.tenant == tenant, preferences.c.user_id == user_id)
        if expected_version == 0 and (await connection.execute(present)).first() is not None:
            return None
        await connection.execute(insert(preferences).values(tenant=tenant, user_id=user_id, body=body, version=1))
        return 1

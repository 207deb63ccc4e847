"""Levels over the real thing."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.database import database_url, open_engine
from meshkit.migrations import migrate
from meshkit.redis import open_redis
from services import cache
from services.cache.eviction.recency_frequency import RecencyFrequency
from services.cache.levels.level import Level
from services.cache.levels.memory_level import MemoryLevel
from services.cache.levels.redis_level import KEY_PREFIX, RedisLevel
from services.cache.levels.sql_level import SqlLevel
from services.cache.levels.sql_table import cache_entries
from services.cache.settings import OWNER
from tests.backends import Valkey, running_valkey

PATIENCE_SECONDS = 10.0
"""Longer than a busy machine takes, so that only a server that is really gone fails."""
MIGRATIONS = Path(cache.__file__).parent / "migrations"


@pytest.fixture
async def client(valkey_url: str) -> AsyncIterator[Redis]:
    async with open_redis(valkey_url, timeout_seconds=PATIENCE_SECONDS) as client:
        await client.flushdb()
        yield client


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server of one test's own, which may be killed and made to hang."""
    with running_valkey(tmp_path) as server:
        yield server


@pytest.fixture
async def own_redis(own_valkey: Valkey) -> AsyncIterator[Redis]:
    """Would itself wait for ever, so that only the timeout of who uses it helps."""
    async with open_redis(own_valkey.url, timeout_seconds=3600, sends_again=True) as client:
        yield client


@pytest.fixture
async def state_redis(valkey_url: str) -> AsyncIterator[Redis]:
    """A database of its own, empty."""
    async with open_redis(valkey_url.removesuffix("/0") + "/7", timeout_seconds=PATIENCE_SECONDS) as client:
        await client.flushdb()
        yield client


@asynccontextmanager
async def empty_database(url: str, *, lock_timeout_seconds: float = PATIENCE_SECONDS) -> AsyncIterator[AsyncEngine]:
    """With all tables, and nothing in them."""
    where = database_url(url, home="", owner=OWNER)
    await migrate(where, owner=OWNER, scripts=MIGRATIONS)
    async with open_engine(where, lock_timeout_seconds=lock_timeout_seconds) as engine:
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM cache_entries"))
        yield engine
    await _threads_ended()


async def _threads_ended() -> None:
    """Nobody waits for the thread of a connection to SQLite whose opening was cancelled, and it needs the loop."""
    while any("_connection_worker_thread" in thread.name for thread in threading.enumerate()):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)


@pytest.fixture
async def sqlite_engine(sqlite_url: str) -> AsyncIterator[AsyncEngine]:
    async with empty_database(sqlite_url) as engine:
        yield engine


@pytest.fixture
async def postgres_engine(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    async with empty_database(postgres_url) as engine:
        yield engine


@pytest.fixture(params=["sqlite_engine", "postgres_engine"])
def engine(request: pytest.FixtureRequest) -> AsyncEngine:
    engine: AsyncEngine = request.getfixturevalue(request.param)
    return engine


def redis_level_on(client: Redis) -> RedisLevel:
    return RedisLevel(redis=client, timeout_seconds=PATIENCE_SECONDS, clock=time.monotonic)


def sql_level_on(engine: AsyncEngine) -> SqlLevel:
    return SqlLevel(engine=engine, timeout_seconds=PATIENCE_SECONDS, clock=time.monotonic)


@dataclass(frozen=True)
class Backing:
    """A level beyond memory, and what lies below it."""

    level: Level
    overwrite: Callable[[str, bytes], Awaitable[object]]
    """Puts these bytes in place of the entry under the key."""


def on_redis(client: Redis) -> Backing:
    return Backing(redis_level_on(client), lambda key, data: client.set(KEY_PREFIX + key, data))


def on_sql(engine: AsyncEngine) -> Backing:
    async def overwrite(key: str, data: bytes) -> None:
        async with engine.begin() as connection:
            await connection.execute(update(cache_entries).where(cache_entries.c.key == key).values(data=data))

    return Backing(sql_level_on(engine), overwrite)


@pytest.fixture(params=["redis", "sqlite", "postgres"])
def backing(request: pytest.FixtureRequest) -> Backing:
    if request.param == "redis":
        return on_redis(request.getfixturevalue("client"))
    return on_sql(request.getfixturevalue(f"{request.param}_engine"))


@pytest.fixture(params=["memory", "redis", "sqlite", "postgres"])
def level(request: pytest.FixtureRequest) -> Level:
    match request.param:
        case "memory":
            return MemoryLevel(max_entries=1000, max_bytes=10**8, eviction=RecencyFrequency())
        case "redis":
            return redis_level_on(request.getfixturevalue("client"))
        case database:
            return sql_level_on(request.getfixturevalue(f"{database}_engine"))

"""Levels over the real thing."""

import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from meshkit.redis import open_redis
from services.cache.level import Level
from services.cache.memory_level import MemoryLevel
from services.cache.redis_level import RedisLevel

PATIENCE_SECONDS = 10.0
"""Longer than a busy machine takes, so that only a Redis that is really gone fails."""


@pytest.fixture
async def client(valkey_url: str) -> AsyncIterator[Redis]:
    async with open_redis(valkey_url, timeout_seconds=PATIENCE_SECONDS) as client:
        await client.flushdb()
        yield client


@pytest.fixture
def redis_level(client: Redis) -> RedisLevel:
    return RedisLevel(redis=client, timeout_seconds=PATIENCE_SECONDS, clock=time.monotonic)


@pytest.fixture(params=["memory", "redis"])
def level(request: pytest.FixtureRequest) -> Level:
    if request.param == "memory":
        return MemoryLevel(max_entries=1000, max_bytes=10**8)
    over_redis: RedisLevel = request.getfixturevalue("redis_level")
    return over_redis

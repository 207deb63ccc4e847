"""What the stores are tested over: a real Redis, and time that stands still."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from meshkit.redis import open_redis
from tests.contract.ratelimit.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def redis_url(valkey_url: str) -> str:
    """A database that these tests may empty."""
    return valkey_url.removesuffix("/0") + "/9"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url, timeout_seconds=5) as client:
        await client.flushdb()
        yield client

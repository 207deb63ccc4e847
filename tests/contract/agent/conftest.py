"""Stores over the real thing."""

import secrets
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from meshkit.redis import open_redis

PATIENCE_SECONDS = 10.0
"""Longer than a busy machine takes, so that only a server that is really gone fails."""


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    async with open_redis(valkey_url, timeout_seconds=PATIENCE_SECONDS) as client:
        yield client


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test uses."""
    return f"tenant-{secrets.token_hex(8)}"

"""Connections to Redis or Valkey."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as LateAnswer
from redis.maint_notifications import MaintNotificationsConfig

FAILURES = (RedisError, OSError, TimeoutError)
"""What a call to Redis raises when Redis cannot be used."""
LATE = (LateAnswer, TimeoutError)
"""Those of them that say only that the answer has not come in time."""


@asynccontextmanager
async def open_redis(
    url: str, *, timeout_seconds: float, connections: int = 64, sends_again: bool = False
) -> AsyncIterator[redis.asyncio.Redis]:
    """A pooled client, closed at the end. It connects on first use.

    A call that finds all `connections` in use waits for one, at most `timeout_seconds`. With `sends_again`, a call
    whose connection turns out to be lost, as all are after Redis has restarted, is sent once more on a new one; it may
    then have been carried out twice. A call that takes too long is never sent again.
    """
    attempts = 1 if sends_again else 0
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), attempts, supported_errors=(LostConnection,)),
        # Enabled, they make the pool hand out idle connections that the server has closed, without looking.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    client = redis.asyncio.Redis.from_pool(pool)
    try:
        yield client
    finally:
        await client.aclose()

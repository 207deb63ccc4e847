"""The shared level: Redis or Valkey, which expires and evicts by itself."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from redis.asyncio import Redis

from meshkit.redis import FAILURES
from services.cache.breaker import Breaker
from services.cache.entry import Entry, UnreadableEntryError, decode, encode
from services.cache.level import Holdings, LevelUnavailableError

PAUSE_SECONDS = 1.0
"""How long Redis is left alone after a failure."""

log = structlog.get_logger()


class RedisLevel:
    """A Level over a client that its opener closes. A look-up or store takes at most `timeout_seconds`.

    `clock` is a steady clock in seconds, such as time.monotonic.
    """

    def __init__(
        self,
        *,
        redis: Redis,
        timeout_seconds: float,
        clock: Callable[[], float],
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._redis = redis
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._breaker = Breaker(pause_seconds=pause_seconds)

    async def get(self, key: str, now: float) -> Entry | None:
        async with self._guarded():
            data = await self._redis.get(key)
        entry = _decoded(key, data) if isinstance(data, bytes) else None
        return entry if entry and entry.is_live(now) else None

    async def put(self, key: str, entry: Entry, now: float) -> bool:
        left_ms = math.ceil((entry.expires - now) * 1000)
        if left_ms <= 0:
            return False
        async with self._guarded():
            await self._redis.set(key, encode(key, entry), px=left_ms)
        return True

    def holdings(self) -> Holdings:
        return Holdings()

    @asynccontextmanager
    async def _guarded(self) -> AsyncIterator[None]:
        """Around each use of Redis. Raises LevelUnavailableError if Redis fails, or failed a short while ago."""
        if not self._breaker.allows(self._clock()):
            raise LevelUnavailableError("Redis is left alone after a failure")
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except FAILURES as error:
            if self._breaker.record_failure(self._clock()):
                log.warning("cache Redis cannot be used; going on without it", error=repr(error))
            raise LevelUnavailableError("Redis failed") from error
        if self._breaker.record_success():
            log.info("cache Redis can be used again")


def _decoded(key: str, data: bytes) -> Entry | None:
    try:
        return decode(key, data)
    except UnreadableEntryError as error:
        log.warning("an entry in the cache Redis is unreadable and counts as a miss", error=str(error))
        return None

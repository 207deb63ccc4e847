"""The shared level: Redis or Valkey, which expires and evicts by itself."""

import asyncio
import math
from collections.abc import Callable

from redis.asyncio import Redis

from meshkit.redis import FAILURES
from services.cache.entry import Entry
from services.cache.levels.entry_codec import decode, encode
from services.cache.levels.guard import PAUSE_SECONDS, Guard
from services.cache.levels.level import Holdings
from services.cache.policies import Policy

KEY_PREFIX = "shoal:cache:"
"""Before each storage key, so that the server can be used for other things too."""


class RedisLevel:
    """A Level over a client that its opener closes. A look-up or store takes at most `timeout_seconds`.

    The last store wins. `clock` is a steady clock in seconds, such as time.monotonic.
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
        self._guard = Guard("the cache Redis", failures=FAILURES, clock=clock, pause_seconds=pause_seconds)

    async def get(self, key: str, now: float) -> Entry | None:
        with self._guard.use():
            async with asyncio.timeout(self._timeout_seconds):
                data = await self._redis.get(KEY_PREFIX + key)
        if not isinstance(data, bytes):
            return None
        entry = decode(key, data)
        return entry if entry.is_live(now) else None

    async def put(self, key: str, entry: Entry, policy: Policy, now: float) -> bool:
        left_ms = math.ceil((entry.expires - now) * 1000)
        if left_ms <= 0:
            return False
        data = encode(key, entry, compress=policy.compress)
        with self._guard.use():
            async with asyncio.timeout(self._timeout_seconds):
                await self._redis.set(KEY_PREFIX + key, data, px=left_ms)
        return True

    def holdings(self) -> Holdings:
        return Holdings()

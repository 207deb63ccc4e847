"""The limiters that are alive, as Redis is told by each of them."""

from contextlib import suppress
from pathlib import Path

from redis.asyncio import Redis

from meshkit.redis import FAILURES
from services.ratelimit.buckets.bucket import MICROS_PER_SECOND
from services.ratelimit.buckets.fleet import Beat
from services.ratelimit.buckets.redis_scripts import EPOCH_KEY, reported_as_unreachable, with_buckets

KEY = "limiters"
LIFE_SECONDS = 5.0
"""A limiter that was not heard of for so long has gone."""

_SCRIPT = Path(__file__).with_name("fleet.lua")


class RedisFleet:
    """The client belongs to the caller, who closes it. `name` is that of this process and of no other."""

    def __init__(self, redis: Redis, *, name: str) -> None:
        self._redis = redis
        self._name = name
        self._beat = redis.register_script(with_buckets(_SCRIPT))

    async def beat(self) -> Beat:
        life_micros = round(LIFE_SECONDS * MICROS_PER_SECOND)
        with reported_as_unreachable():
            limiters, epoch = await self._beat(keys=[KEY, EPOCH_KEY], args=["", self._name, life_micros])
            return Beat(int(limiters), epoch.decode())

    async def leave(self) -> None:
        """Says that this limiter ends, if Redis can be told; the others would notice it after a while."""
        with suppress(*FAILURES):
            await self._redis.zrem(KEY, self._name)

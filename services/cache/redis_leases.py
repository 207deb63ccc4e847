"""Leases in the state Redis, which lets them go by itself; within each process while it cannot be used."""

import asyncio
from collections.abc import Callable

import structlog
from redis.asyncio import Redis

from meshkit.redis import FAILURES
from services.cache.leases import MemoryLeases
from services.cache.levels.breaker import Breaker

PAUSE_SECONDS = 1.0
"""How long Redis is left alone after a failure."""

log = structlog.get_logger()


class RedisLeases:
    """The client belongs to the caller, who closes it. `clock` is a steady clock in seconds, such as time.monotonic.

    A lease is asked for in Redis for at most `timeout_seconds`, and not at all for PAUSE_SECONDS after a failure.
    """

    def __init__(self, redis: Redis, *, timeout_seconds: float, clock: Callable[[], float]) -> None:
        self._redis = redis
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._breaker = Breaker(pause_seconds=PAUSE_SECONDS)
        self._own = MemoryLeases(clock)

    async def take(self, name: str, *, seconds: float) -> bool:
        if self._breaker.allows(self._clock()):
            try:
                return await self._take_shared(name, seconds)
            except FAILURES as error:
                if self._breaker.record_failure(self._clock()):
                    log.warning("leases cannot be shared; each process counts for itself", cause=repr(error))
        return await self._own.take(name, seconds=seconds)

    async def _take_shared(self, name: str, seconds: float) -> bool:
        async with asyncio.timeout(self._timeout_seconds):
            taken = await self._redis.set(f"cache:lease:{name}", "taken", nx=True, px=round(seconds * 1000))
        if self._breaker.record_success():
            log.info("leases are shared again")
        return bool(taken)

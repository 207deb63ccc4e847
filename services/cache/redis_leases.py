"""Leases in the state Redis, which lets them go by itself; within each process while it cannot be used."""

import asyncio
from collections.abc import Callable

from redis.asyncio import Redis

from meshkit.redis import FAILURES, LATE
from services.cache.leases import MemoryLeases
from services.cache.outages.guard import PAUSE_SECONDS, Guard
from services.cache.outages.outage import Outage


class _NotSharedError(Exception):
    """Leases cannot be shared now."""


class RedisLeases:
    """The client belongs to the caller, who closes it. `clock` is a steady clock in seconds, such as time.monotonic.

    A lease is asked for in Redis for at most `timeout_seconds`, and not at all for PAUSE_SECONDS after a failure.
    """

    def __init__(self, redis: Redis, *, timeout_seconds: float, clock: Callable[[], float]) -> None:
        self._redis = redis
        self._timeout_seconds = timeout_seconds
        self._guard = Guard(
            Outage("the state Redis, for leases", setting="SHOAL_STATE_REDIS_URL"),
            failures=FAILURES,
            late=LATE,
            refusal=_NotSharedError,
            meanwhile="a stale answer may be computed anew once for each cache process",
            clock=clock,
            pause_seconds=PAUSE_SECONDS,
        )
        self._own = MemoryLeases(clock)

    async def take(self, name: str, *, seconds: float) -> bool:
        try:
            with self._guard.use():
                async with asyncio.timeout(self._timeout_seconds):
                    lease = f"cache:lease:{name}"
                    return bool(await self._redis.set(lease, "taken", nx=True, px=round(seconds * 1000)))
        except _NotSharedError:
            return await self._own.take(name, seconds=seconds)

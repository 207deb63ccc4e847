"""Buckets in Redis, shared by all limiters: one script takes from them atomically, by the server's clock."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from redis.asyncio import Redis

from meshkit.errors import Reason, ShoalError
from meshkit.redis import FAILURES
from services.ratelimit.bucket import Decision, Spend, holding
from services.ratelimit.outage import OutageLog

_SCRIPT = Path(__file__).with_name("take.lua")


class RedisBucketStore:
    """The client belongs to the caller, who closes it.

    `clock` (microseconds) is for tests, which need time in their hands; without it the server's clock counts.
    """

    def __init__(self, redis: Redis, *, clock: Callable[[], int] | None = None) -> None:
        self._clock = clock
        # Sends the digest alone; when the server does not know it (restart, failover), loads it and tries once more.
        self._take = redis.register_script(_SCRIPT.read_text())
        self._outage = OutageLog("Redis for limits", setting="SHOAL_LIMITS_REDIS_URL")

    async def take(self, spends: Sequence[Spend]) -> Decision:
        arguments: list[int | str] = [self._clock() if self._clock else ""]
        for spend in spends:
            arguments += (spend.limit.full, spend.limit.grains_per_micro, spend.grains)
        with self._outage.watched(), _reported_as_unavailable():
            allowed, wait, *grains = await self._take(keys=[spend.bucket for spend in spends], args=arguments)
        holdings = tuple(holding(spend.limit, left) for spend, left in zip(spends, grains, strict=True))
        return Decision(bool(allowed), wait, holdings)


@contextmanager
def _reported_as_unavailable() -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        raise ShoalError(Reason.LIMITER_UNAVAILABLE, "The limits cannot be checked now; try again.") from error

"""Buckets in Redis, shared by all limiters: one script takes from them atomically, by the server's clock."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from redis.asyncio import Redis

from services.ratelimit.buckets.bucket import Decision, Spend, decision
from services.ratelimit.buckets.redis_scripts import EPOCH_KEY, reported_as_unreachable, size_arguments, with_buckets

_SCRIPT = Path(__file__).with_name("take.lua")


class RedisBucketStore:
    """The client belongs to the caller, who closes it.

    `clock` (microseconds) is for tests, which need time in their hands; without it the server's clock counts.
    """

    def __init__(self, redis: Redis, *, clock: Callable[[], int] | None = None) -> None:
        self._clock = clock
        # Sends the digest alone; when the server does not know it (restart, failover), loads it and tries once more.
        self._take = redis.register_script(with_buckets(_SCRIPT))

    async def take(self, spends: Sequence[Spend]) -> Decision:
        (decided,) = await self.take_each([spends])
        return decided

    async def take_each(self, groups: Sequence[Sequence[Spend]], *, epoch: str = "") -> list[Decision]:
        """Decides on several groups in one round trip; see SharedBuckets."""
        keys = [EPOCH_KEY, *(spend.bucket for spends in groups for spend in spends)]
        told = [[(*size_arguments(spend.limit), spend.grains, spend.mode) for spend in spends] for spends in groups]
        arguments = [self._clock() if self._clock else "", msgspec.msgpack.encode(told), epoch]
        with reported_as_unreachable():
            answer = await self._take(keys=keys, args=arguments)
            outcomes = zip(answer[::2], answer[1::2], strict=True)
            return [decision(spends, [next(outcomes) for _ in spends]) for spends in groups]

"""Buckets in Redis, shared by all limiters: one script takes from them atomically, by the server's clock."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from redis.asyncio import Redis

from meshkit.redis import FAILURES
from services.ratelimit.buckets.bucket import Decision, Limit, Spend, decision
from services.ratelimit.buckets.bucket_store import BucketsUnreachableError

BUCKET_SCRIPT = Path(__file__).with_name("bucket.lua").read_text()
"""What every script that touches buckets begins with."""

_TAKE_SCRIPT = Path(__file__).with_name("take.lua").read_text()


class RedisBucketStore:
    """The client belongs to the caller, who closes it.

    `clock` (microseconds) is for tests, which need time in their hands; without it the server's clock counts.
    """

    def __init__(self, redis: Redis, *, clock: Callable[[], int] | None = None) -> None:
        self._clock = clock
        # Sends the digest alone; when the server does not know it (restart, failover), loads it and tries once more.
        self._take = redis.register_script(BUCKET_SCRIPT + _TAKE_SCRIPT)

    async def take(self, spends: Sequence[Spend]) -> Decision:
        (decided,) = await self.take_each([spends])
        return decided

    async def take_each(self, wishes: Sequence[Sequence[Spend]]) -> list[Decision]:
        """Decides on several wishes in one round trip, one after the other; each is taken whole or not at all.

        Raises BucketsUnreachableError.
        """
        keys = [spend.bucket for spends in wishes for spend in spends]
        groups = [[(*size_arguments(spend.limit), spend.grains, spend.mode) for spend in spends] for spends in wishes]
        arguments = [self._clock() if self._clock else "", msgspec.msgpack.encode(groups)]
        with reported_as_unreachable():
            answer = await self._take(keys=keys, args=arguments)
        outcomes = zip(answer[::2], answer[1::2], strict=True)
        return [decision(spends, [next(outcomes) for _ in spends]) for spends in wishes]


def size_arguments(limit: Limit) -> tuple[int, int, int]:
    """The size of a bucket as the scripts are told it: what it holds when full, grains per token, gain."""
    return limit.full, limit.grains_per_token, limit.grains_per_micro


@contextmanager
def reported_as_unreachable() -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        raise BucketsUnreachableError from error

"""Where buckets are remembered: the port, and an implementation in memory."""

from collections.abc import Callable, Sequence
from typing import Protocol

from services.ratelimit.buckets.bucket import Decision, Level, Spend, take


class BucketsUnreachableError(Exception):
    """The buckets cannot be reached, or not in time; the cause says why."""


class BucketStore(Protocol):
    """Remembers buckets. A bucket that was never seen is full."""

    async def take(self, spends: Sequence[Spend]) -> Decision:
        """Takes all spends or none, atomically; the names of the buckets differ.

        Raises BucketsUnreachableError.
        """
        ...


class InMemoryBucketStore:
    """Buckets of one process. Nothing is ever forgotten, so it suits a bounded set of names.

    `clock` tells the time in microseconds.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._levels: dict[str, Level] = {}

    async def take(self, spends: Sequence[Spend]) -> Decision:
        decision, changed = take(spends, self._levels, self._clock())
        self._levels |= changed
        return decision

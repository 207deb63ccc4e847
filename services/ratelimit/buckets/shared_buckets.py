"""The buckets that all limiters share: the port."""

from collections.abc import Sequence
from typing import Protocol

from services.ratelimit.buckets.bucket import Decision, Spend


class SharedBuckets(Protocol):
    """Buckets that all limiters share."""

    async def take_each(self, groups: Sequence[Sequence[Spend]], *, epoch: str) -> list[Decision]:
        """Decides on several groups of spends, one after the other; each is taken whole or not at all.

        `epoch` is the one that the caller knows, empty for any. Raises BucketsUnreachableError, also if the epoch is
        another: the buckets were lost.
        """
        ...

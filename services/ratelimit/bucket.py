"""Token bucket arithmetic: what a bucket holds, whether a cost can be taken, and how long until it can.

Tokens are counted in whole grains and time in whole microseconds. Nothing is rounded on the way, so waiting exactly as
long as was said is enough, and `take.lua`, which does the same in doubles, agrees to the last grain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GRAINS_PER_TOKEN = 10**9
"""A rate with three decimals, in tokens per second, is a whole number of grains per microsecond."""
MICROS_PER_SECOND = 10**6

LOWEST_RATE = 0.001
HIGHEST_RATE = 1_000_000
LARGEST_CAPACITY = 1_000_000
"""In grains this is 10**15, which a double still holds exactly (up to 2**53)."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The size of a bucket. Raises ValueError for numbers out of range.

    `rate_per_second` is 0.001 to 1,000,000 tokens with at most three decimals, `capacity` is 1 to 1,000,000 tokens.
    """

    rate_per_second: float
    capacity: int

    def __post_init__(self) -> None:
        if not LOWEST_RATE <= self.rate_per_second <= HIGHEST_RATE:
            raise ValueError(f"the rate must be from {LOWEST_RATE} to {HIGHEST_RATE} tokens per second")
        if round(self.rate_per_second, 3) != self.rate_per_second:
            raise ValueError("the rate must have at most three decimals")
        if not 1 <= self.capacity <= LARGEST_CAPACITY:
            raise ValueError(f"the capacity must be from 1 to {LARGEST_CAPACITY} tokens")

    @property
    def full(self) -> int:
        """What a full bucket holds, in grains."""
        return self.capacity * GRAINS_PER_TOKEN

    @property
    def grains_per_micro(self) -> int:
        return round(self.rate_per_second * GRAINS_PER_TOKEN / MICROS_PER_SECOND)

    def micros_to_gain(self, grains: int) -> int:
        """How long the bucket needs for so many grains, rounded up."""
        return -(-grains // self.grains_per_micro)


@dataclass(frozen=True, slots=True)
class Level:
    """What a bucket held at a point in time, in grains and microseconds."""

    grains: int
    at: int


@dataclass(frozen=True, slots=True)
class Spend:
    """A wish to take `cost` tokens from the bucket of that name; a cost of 0 only looks. Raises ValueError for a cost
    that the bucket can never hold."""

    bucket: str
    limit: Limit
    cost: int

    def __post_init__(self) -> None:
        if not 0 <= self.cost <= self.limit.capacity:
            raise ValueError(f"a bucket of {self.limit.capacity} tokens cannot be asked for {self.cost}")

    @property
    def grains(self) -> int:
        return self.cost * GRAINS_PER_TOKEN


@dataclass(frozen=True, slots=True)
class Holding:
    """A bucket after a decision: whole tokens left, and microseconds until it is full."""

    limit: Limit
    remaining: int
    full_in_micros: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to several spends at once: all were taken or none was."""

    allowed: bool
    retry_after_micros: int
    """How long until the same spends would pass if nobody else spends; 0 if they did."""
    holdings: tuple[Holding, ...]
    """The buckets after the decision, in the order of the spends."""


def holding(limit: Limit, grains: int) -> Holding:
    return Holding(limit, grains // GRAINS_PER_TOKEN, limit.micros_to_gain(limit.full - grains))


def refilled(limit: Limit, level: Level | None, now: int) -> Level:
    """The level now. A bucket that nobody remembers is full; a clock that stepped back refills nothing."""
    if level is None:
        return Level(limit.full, now)
    elapsed = max(0, now - level.at)
    return Level(min(limit.full, level.grains + elapsed * limit.grains_per_micro), now)


def take(spends: Sequence[Spend], levels: Mapping[str, Level], now: int) -> tuple[Decision, dict[str, Level]]:
    """Takes all spends or none, from buckets with different names. Returns the decision and the levels to remember.

    A refusal changes nothing. A level from the future, left by a clock that stepped back, is always remembered anew,
    or its bucket would stay frozen until that future.
    """
    before = [refilled(spend.limit, levels.get(spend.bucket), now) for spend in spends]
    missing = [
        spend.limit.micros_to_gain(max(0, spend.grains - level.grains))
        for spend, level in zip(spends, before, strict=True)
    ]
    allowed = not any(missing)
    after = [
        Level(level.grains - spend.grains if allowed else level.grains, now)
        for spend, level in zip(spends, before, strict=True)
    ]
    holdings = tuple(holding(spend.limit, level.grains) for spend, level in zip(spends, after, strict=True))
    changed = {
        spend.bucket: level
        for spend, level in zip(spends, after, strict=True)
        if (allowed and spend.cost) or _is_from_the_future(levels.get(spend.bucket), now)
    }
    return Decision(allowed, max(missing, default=0), holdings), changed


def _is_from_the_future(level: Level | None, now: int) -> bool:
    return level is not None and level.at > now

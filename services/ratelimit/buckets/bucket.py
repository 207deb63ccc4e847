"""Token bucket arithmetic: what a bucket holds, whether a cost can be taken, and how long until it can.

Tokens are counted in whole grains and time in whole microseconds, and a bucket gains a whole number of grains in each
microsecond. Nothing is rounded on the way, so waiting exactly as long as was said is enough, and `take.lua`, which does
the same in doubles, agrees to the last grain.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction
from typing import Self

import msgspec

MICROS_PER_SECOND = 10**6
MOST_GRAINS = 2**52
"""Twice as many, a full bucket and a debt of another, are still exact in a double."""

RATE_ERROR = Fraction(1, 10**6)

LOWEST_RATE = Fraction(1, 366 * 24 * 3600)
HIGHEST_RATE = LARGEST_CAPACITY = 2**32 - 1
"""What Envoy's protocol has room for."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The size of a bucket. Raises ValueError for numbers out of range.

    `rate_per_second` is one token a year to 2**32 - 1 a second, and exact when it is an int, a Fraction, or a float
    that stands for a short decimal; `capacity` is 1 to 2**32 - 1 tokens.
    """

    rate_per_second: Fraction
    capacity: int
    grains_per_token: int = field(init=False, compare=False)
    grains_per_micro: int = field(init=False, compare=False)
    full: int = field(init=False, compare=False)
    """What a full bucket holds, in grains."""

    def __init__(self, rate_per_second: Fraction | float, capacity: int) -> None:
        if not LOWEST_RATE <= rate_per_second <= HIGHEST_RATE:
            raise ValueError("the rate must be from one token a year to 2**32 - 1 tokens per second")
        if not 1 <= capacity <= LARGEST_CAPACITY:
            raise ValueError(f"the capacity must be from 1 to {LARGEST_CAPACITY} tokens")
        rate = Fraction(str(rate_per_second))
        # The fewest grains that make a microsecond's gain whole. Only odd rates in huge buckets need more than fit;
        # theirs is the nearest rate that fits, and at most a millionth off.
        per_micro = (rate / MICROS_PER_SECOND).limit_denominator(MOST_GRAINS // capacity)
        if abs(per_micro * MICROS_PER_SECOND - rate) > rate * RATE_ERROR:
            raise ValueError("the rate is too low for so large a capacity")
        self._set("rate_per_second", rate)
        self._set("capacity", capacity)
        self._set("grains_per_token", per_micro.denominator)
        self._set("grains_per_micro", per_micro.numerator)
        self._set("full", capacity * per_micro.denominator)

    def _set(self, name: str, value: Fraction | int) -> None:
        object.__setattr__(self, name, value)

    @classmethod
    def per(cls, count: int, seconds: int, *, capacity: int | None = None) -> Self:
        """`count` tokens every `seconds`, all of them at once if need be."""
        return cls(Fraction(count, seconds), count if capacity is None else capacity)

    def enlarged(self, capacity: int) -> "Limit":
        """The same rate for a bucket that holds more, which only memory can keep: no double bounds its grains."""
        larger = copy(self)
        larger._set("capacity", capacity)
        larger._set("full", capacity * self.grains_per_token)
        return larger

    def micros_to_gain(self, grains: int) -> int:
        """How long the bucket needs for so many grains, rounded up."""
        return -(-grains // self.grains_per_micro)


class Level(msgspec.Struct, frozen=True):
    """What a bucket held at a point in time (microseconds), in grains of the size that its limit had then."""

    grains: int
    at: int
    grains_per_token: int


class Mode(IntEnum):
    """What a spend does when the bucket holds too little."""

    ENFORCED = 0
    """It refuses, and the spends beside it are not taken either."""
    SHADOW = 1
    """It takes nothing and refuses nothing; the answer shows that it would have."""
    CHARGED = 2
    """It is taken all the same, since the tokens are gone already, up to a debt of one full bucket."""
    MISSING = 3
    """So much is known to be missing from a bucket that was forgotten; it takes what is there in excess."""


class Spend(msgspec.Struct, frozen=True):
    """A wish to take `cost` tokens from the bucket of that name; a cost of 0 only looks, a negative one gives back.

    Raises ValueError for a cost that the bucket can never hold.
    """

    bucket: str
    limit: Limit
    cost: int
    mode: Mode = Mode.ENFORCED

    def __post_init__(self) -> None:
        if self.cost > self.limit.capacity:
            raise ValueError(f"a bucket of {self.limit.capacity} tokens cannot be asked for {self.cost}")

    @property
    def grains(self) -> int:
        return self.cost * self.limit.grains_per_token


class Holding(msgspec.Struct, frozen=True):
    """A bucket after a decision: whole tokens left, microseconds until it is full, and microseconds until it could
    have paid its own spend; 0 if it could."""

    limit: Limit
    remaining: int
    full_in_micros: int
    wait_micros: int


class Decision(msgspec.Struct, frozen=True):
    """The answer to several spends at once: all were taken or none was."""

    allowed: bool
    retry_after_micros: int
    """How long until the same spends would pass if nobody else spends; 0 if they did."""
    holdings: tuple[Holding, ...]
    """The buckets after the decision, in the order of the spends."""
    degraded: bool = False
    """Whether it was made from this process's share alone, since the buckets could not be reached."""


def decision(spends: Sequence[Spend], outcomes: Sequence[tuple[int, int]]) -> Decision:
    """What follows from the grains that each bucket holds after the spends, and its wait in microseconds."""
    retry_after, holdings = 0, []
    for spend, (grains, wait) in zip(spends, outcomes, strict=True):
        if wait > retry_after and spend.mode is Mode.ENFORCED:
            retry_after = wait
        holdings.append(holding(spend.limit, grains, wait))
    return Decision(retry_after == 0, retry_after, tuple(holdings))


def holding(limit: Limit, grains: int, wait_micros: int) -> Holding:
    """A bucket that holds so many grains, and could not have paid for so long."""
    remaining = max(0, grains) // limit.grains_per_token
    return Holding(limit, remaining, limit.micros_to_gain(limit.full - grains), wait_micros)


def refilled(limit: Limit, level: Level | None, now: int) -> int:
    """The grains that a bucket holds now. One that nobody remembers is full; a clock that stepped back refills nothing;
    of grains that had another size, before the limit was changed, the whole tokens count."""
    if level is None:
        return limit.full
    grains = level.grains
    if level.grains_per_token != limit.grains_per_token:
        grains = grains // level.grains_per_token * limit.grains_per_token
    return min(limit.full, grains + max(0, now - level.at) * limit.grains_per_micro)


def take(spends: Sequence[Spend], levels: Mapping[str, Level], now: int) -> tuple[Decision, dict[str, Level]]:
    """Takes all spends or none, from buckets with different names. Returns the decision and the levels to remember.

    A refusal changes nothing. A level from the future, left by a clock that stepped back, is always remembered anew,
    or its bucket would stay frozen until that future.
    """
    before = [refilled(spend.limit, levels.get(spend.bucket), now) for spend in spends]
    waits = [_wait(spend, grains) for spend, grains in zip(spends, before, strict=True)]
    allowed = not any(wait for spend, wait in zip(spends, waits, strict=True) if spend.mode is Mode.ENFORCED)
    after = [
        _paid(spend, grains) if allowed and not wait else grains
        for spend, grains, wait in zip(spends, before, waits, strict=True)
    ]
    changed = {
        spend.bucket: Level(grains, now, spend.limit.grains_per_token)
        for spend, grains, was in zip(spends, after, before, strict=True)
        if grains != was or _is_from_the_future(levels.get(spend.bucket), now)
    }
    return decision(spends, list(zip(after, waits, strict=True))), changed


def _wait(spend: Spend, grains: int) -> int:
    if spend.cost <= 0 or spend.mode in (Mode.CHARGED, Mode.MISSING):
        return 0
    return spend.limit.micros_to_gain(max(0, spend.grains - grains))


def _paid(spend: Spend, grains: int) -> int:
    """What is left. Giving back never overfills."""
    full = spend.limit.full
    if spend.mode is Mode.MISSING:
        return min(grains, full - spend.grains)
    left = min(full, grains - spend.grains)
    return max(left, min(grains, -full)) if spend.mode is Mode.CHARGED else left


def _is_from_the_future(level: Level | None, now: int) -> bool:
    return level is not None and level.at > now

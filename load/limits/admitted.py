"""How many requests a token bucket admits: exactly, and at most."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tier:
    """Clients of one kind, each with a limit of its own."""

    name: str
    rate: int
    """Requests per second."""
    burst: int
    """2 or more: a bucket for one request is full, and gains nothing, before the next question comes."""
    clients: int
    overload: float
    """How much more than its rate each client asks."""

    def admits(self, seconds: float, *, asked: int) -> int:
        """What the bucket of a client admits that asks at even intervals, more often than it refills, over so much
        time: it begins full, nothing is lost to a full bucket, and what is left in the end is less than a request."""
        return min(asked, math.floor(self.burst + self.rate * seconds))

    def at_most(self, seconds: float, *, bursts: int) -> float:
        """What is never exceeded by a bucket that is full so many times over."""
        return self.rate * seconds + bursts * self.burst


def is_exact(admitted: int, expected: int) -> bool:
    """Within one request or one per cent, whichever is more."""
    return abs(admitted - expected) <= max(1, 0.01 * expected)

"""Which entries make room: those that were used long ago and seldom."""

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass

SHARE = 5
"""One of so many entries goes at once, so that the search for the worst is rare."""


@dataclass(slots=True)
class Usage:
    """How an entry was used since it was stored."""

    last_used: float
    """Unix time in seconds."""
    uses: int = 0

    def record(self, now: float) -> None:
        self.last_used = now
        self.uses += 1


def score(usage: Usage, now: float) -> float:
    """Seconds since the last use, divided by uses + 1. The higher, the sooner an entry goes."""
    return max(0.0, now - usage.last_used) / (usage.uses + 1)


def worst_fifth(usages: Mapping[str, Usage], now: float) -> list[str]:
    """The keys with the highest scores: a fifth of them, rounded up. Among equals, those that come first go first."""
    return heapq.nlargest(math.ceil(len(usages) / SHARE), usages, key=lambda key: score(usages[key], now))

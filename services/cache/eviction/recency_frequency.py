"""Eviction by recency and frequency: what was used long ago and seldom goes, the worst fifth at once."""

import math
from typing import ClassVar

SHARE = 5
"""One of so many keys goes at once, so that the search for the worst is rare."""


class RecencyFrequency:
    """An Eviction by score: seconds since the last use, divided by uses + 1. The higher, the sooner a key goes.

    To be stored is no use. What is replaced keeps its uses. Among equals, what was stored first goes first.
    """

    KEY_BYTES: ClassVar[int] = 128

    def __init__(self) -> None:
        self._last_used: dict[str, float] = {}
        self._uses_and_one: dict[str, int] = {}
        """Its keys are in the same order as those of `_last_used`: both gain and lose them together."""

    def stored(self, key: str, now: float) -> None:
        self._last_used[key] = now
        self._uses_and_one.setdefault(key, 1)

    def used(self, key: str, now: float) -> None:
        self._last_used[key] = now
        self._uses_and_one[key] += 1

    def removed(self, key: str) -> None:
        del self._last_used[key]
        del self._uses_and_one[key]

    def victims(self, now: float) -> list[str]:
        """The fifth of the keys with the highest scores, rounded up."""
        if not self._last_used:
            return []
        worst = self._worst(math.ceil(len(self._last_used) / SHARE), now)
        for key in worst:
            self.removed(key)
        return worst

    def _worst(self, count: int, now: float) -> list[str]:
        """What takes time here holds up every caller, so it sorts bare numbers, in which Python is fast."""
        scores = self._scores(now)
        limit = sorted(scores)[-count]
        above = [key for key, score in zip(self._last_used, scores, strict=True) if score > limit]
        equal = [key for key, score in zip(self._last_used, scores, strict=True) if score == limit]
        return above + equal[: count - len(above)]

    def _scores(self, now: float) -> list[float]:
        """Never negative, even if the clock was set back."""
        uses = zip(self._last_used.values(), self._uses_and_one.values(), strict=True)
        return [(now - last) / weight if now > last else 0.0 for last, weight in uses]

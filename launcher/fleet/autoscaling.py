"""How many replicas a pool should have, by how busy it is: add 2 above 80 %, remove 1 below 30 %, in no hurry."""

import math
import re
from collections import deque
from dataclasses import dataclass
from typing import Self

ABOVE, BELOW = 0.80, 0.30
"""The utilisations between which nothing changes. They are far enough apart that no change calls for its opposite."""
ADDED, REMOVED = 2, 1
COOLDOWN_SECONDS = 300.0
"""Longer than the window below, so that what was seen before a change says nothing after it."""
WINDOW_SECONDS = 60.0
"""What counts is the mean over this time: a burst shorter than that is over before a new replica could help."""

SERVICE = "agent"
MOST = 20
"""Agents that the table of ports has room for."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How few and how many replicas there may be."""

    least: int
    most: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `agent=2..8`. Raises ValueError that says what is right."""
        found = re.fullmatch(r"([a-z]+)=([0-9]{1,3})\.\.([0-9]{1,3})", text)
        if not found:
            raise ValueError(f"{text!r} does not read like {SERVICE}=2..8")
        service, least, most = found[1], int(found[2]), int(found[3])
        if service != SERVICE:
            raise ValueError(
                f"only {SERVICE} can be autoscaled, as in {SERVICE}=2..8: {service} has no slots to be full"
            )
        if not 1 <= least <= most <= MOST:
            raise ValueError(f"{least}..{most} must go upward, from 1 at the least to {MOST} at the most")
        return cls(least, most)

    def nearest(self, replicas: int) -> int:
        return min(max(replicas, self.least), self.most)


class Autoscaler:
    """Decides for one pool. It is told of everything and does nothing itself."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._replicas: int | None = None
        self._since = 0.0
        self._patience_seconds = 0.0
        self._samples: deque[tuple[float, float]] = deque()

    def observe(self, utilisation: float, replicas: int, now: float) -> int:
        """How many replicas are wanted, given how many there are.

        `utilisation` is turns that run or wait, over the slots of the replicas that serve; above 1 when turns wait.
        `now` is in seconds and never goes backward. A change counts from when it is seen in `replicas`, whoever made
        it; one that was wanted and not made is wanted again. Outside of the bounds nothing is waited for.
        """
        self._note(utilisation, replicas, now)
        if not self._bounds.least <= replicas <= self._bounds.most:
            return self._bounds.nearest(replicas)
        if now - self._since < self._patience_seconds:
            return replicas
        return self._bounds.nearest(replicas + self._step())

    def _note(self, utilisation: float, replicas: int, now: float) -> None:
        if replicas != self._replicas:
            self._patience_seconds = WINDOW_SECONDS if self._replicas is None else COOLDOWN_SECONDS
            self._replicas, self._since = replicas, now
        self._samples.append((now, utilisation))
        while self._samples[0][0] < now - WINDOW_SECONDS:
            self._samples.popleft()

    def _step(self) -> int:
        mean = math.fsum(utilisation for _, utilisation in self._samples) / len(self._samples)
        if mean > ABOVE:
            return ADDED
        return -REMOVED if mean < BELOW else 0

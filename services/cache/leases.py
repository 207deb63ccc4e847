"""The port of leases: one caller of all gets to do what need be done once; and leases within one process."""

from collections.abc import Callable
from itertools import islice
from typing import Protocol

MOST_LEASES = 10_000


class Leases(Protocol):
    """Leases by name, over all cache processes. They are a hint that saves work: one may be given twice."""

    async def take(self, name: str, *, seconds: float) -> bool:
        """Whether the caller has the lease now, for so long. It never fails; without the shared store, every process
        counts for itself."""


class MemoryLeases:
    """Leases of one process, at most MOST_LEASES. `clock` is a steady clock in seconds, such as time.monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}

    async def take(self, name: str, *, seconds: float) -> bool:
        now = self._clock()
        if self._ends.get(name, now) > now:
            return False
        if len(self._ends) >= MOST_LEASES:
            self._make_room(now)
        self._ends[name] = now + seconds
        return True

    def _make_room(self, now: float) -> None:
        """Forgets what has ended, and if that is too little, what was given first: leases are only a hint."""
        running = {name: end for name, end in self._ends.items() if end > now}
        excess = max(0, len(running) - MOST_LEASES // 2)
        self._ends = dict(islice(running.items(), excess, None))

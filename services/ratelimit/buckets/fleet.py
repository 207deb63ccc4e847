"""How many limiters share the limits."""

from collections import deque
from dataclasses import dataclass
from typing import Protocol

MEMORY_SECONDS = 10.0
SILENCE_SECONDS = 3.0
"""Nobody could count for so long."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What a limiter learns when it says that it is alive."""

    limiters: int
    """How many are alive."""
    epoch: str
    """Changes when the shared buckets were lost."""


class Fleet(Protocol):
    """The limiters that are alive."""

    async def beat(self) -> Beat:
        """Says that this one is alive. Raises BucketsUnreachableError."""
        ...


class FleetSize:
    """The largest number of limiters that was counted lately: a number that is too small would let too much through.

    It is never below `at_least`. Times are seconds on a clock that never steps back.
    """

    def __init__(self, *, at_least: int) -> None:
        self._at_least = at_least
        self._counts: deque[tuple[float, int]] = deque()

    def counted(self, count: int, now: float) -> None:
        if self._counts and now - self._counts[-1][0] > SILENCE_SECONDS:
            # After an outage everybody has to be counted anew. Until they are, the number from before holds.
            self._counts = deque([(now, int(self))])
        self._counts.append((now, count))
        while self._counts[0][0] < now - MEMORY_SECONDS:
            self._counts.popleft()

    def __int__(self) -> int:
        return max(self._at_least, *(count for _, count in self._counts), 1)

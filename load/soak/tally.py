"""What came of the calls of a soak."""

import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from load.soak.record import Failure

MOST_FAILURES_KEPT = 100
KILL_FELT_SECONDS = 3.0
"""A call that was under way when an agent was killed, or began so much later, may be broken by it."""
_UNCHECKED = "The limits cannot be checked"
"""What Shoal says if the limiter did not answer within 50 ms. On a machine whose cores are all busy it happens."""


class Outcome(StrEnum):
    """How a call ended."""

    ANSWERED = "answered"
    CANCELLED = "cancelled by its caller"
    LIMITED = "refused by its limit"
    KILLED = "broken by kill -9"
    UNCHECKED = "limits not checked in time"
    FAILED = "failed unexpectedly"


@dataclass(slots=True)
class Tally:
    """Counts calls by kind and outcome. Times are on the monotonic clock."""

    began: float = field(default_factory=time.monotonic)
    calls: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    """The first MOST_FAILURES_KEPT."""
    _kills: list[float] = field(default_factory=list)

    def count(self, kind: str, outcome: Outcome) -> None:
        self.calls.setdefault(kind, Counter())[outcome] += 1

    def killed(self, now: float) -> None:
        """An agent was killed, with its calls."""
        self._kills.append(now)

    def failed(self, kind: str, error: str, *, began: float, ended: float) -> None:
        """A call failed that should have been answered, but for a kill."""
        if any(began <= kill + KILL_FELT_SECONDS and ended >= kill for kill in self._kills):
            self.count(kind, Outcome.KILLED)
            return
        if _UNCHECKED in error:
            self.count(kind, Outcome.UNCHECKED)
            return
        self.count(kind, Outcome.FAILED)
        if len(self.failures) < MOST_FAILURES_KEPT:
            self.failures.append(Failure(ended - self.began, kind, error))

    @property
    def outcomes(self) -> dict[str, int]:
        """Of all kinds together."""
        total = Counter[str]()
        for counts in self.calls.values():
            total += counts
        return {str(outcome): count for outcome, count in total.items()}

"""How fast something answers."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """So many calls, from so many workers that share the connections. Each asks again when it has its answer."""

    calls: int
    workers: int
    connections: int


@dataclass(frozen=True, slots=True)
class Speed:
    """What a run of calls came to."""

    calls_per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class TimedLoad:
    """Calls from so many callers for so long, but no more than `most_calls`. Each asks again when it has its answer."""

    seconds: int
    callers: int
    most_calls: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a load came to, failures included."""

    seconds: float
    """How long it really took."""
    answered: int
    """How many calls were answered well."""
    errors: Mapping[str, int]
    """The others by their kind: a status, or what became of the connection."""
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    """Percentiles; None where so few calls were made that one would be the slowest of them."""

    @property
    def calls_per_second(self) -> float:
        """Of those that were answered well."""
        return self.answered / self.seconds

    @property
    def failed(self) -> int:
        return sum(self.errors.values())


def enough_for(percentile: float, calls: int) -> bool:
    """Whether a call is slower than that percentile (0 to 100) of so many."""
    return calls * (100 - percentile) >= 100

"""How fast something answers."""

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

"""What was measured of how many replicas, as it is kept in replicas.json."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from load.measuring.generator import MeasurementError
from load.measuring.speed import Outcome

MODEL_SECONDS = 0.5
SLOTS = 8
"""Of a replica."""


class Series(msgspec.Struct, frozen=True):
    """A way to ask, always with the same load on each replica."""

    name: str
    surface: str
    """gRPC or REST."""
    workers_each: int
    """Callers for each replica, of whom each asks again when it has its answer."""

    def callers(self, replicas: int) -> int:
        return replicas * self.workers_each


FULL = Series("gRPC, all slots taken", "gRPC", 12)
"""The middle between too few calls for all slots (8) and some that wait for two others (16), since no balancer that
chooses among random replicas spreads them quite evenly."""
REST_FULL = Series("REST, all slots taken", "REST", 12)
LIGHT = Series("gRPC, six callers for eight slots", "gRPC", 6)
SERIES = (FULL, REST_FULL, LIGHT)


class Run(msgspec.Struct, frozen=True):
    """One run, failures included."""

    calls_per_second: float
    """That were answered well."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    answered: int
    errors: dict[str, int]

    @classmethod
    def of(cls, outcome: Outcome) -> "Run":
        """Raises MeasurementError if it was too short for percentiles."""
        p50, p95, p99 = outcome.p50_ms, outcome.p95_ms, outcome.p99_ms
        if p50 is None or p95 is None or p99 is None:
            raise MeasurementError(f"{outcome.answered} calls are too few for a p99: measure with more --seconds")
        return cls(outcome.calls_per_second, p50, p95, p99, outcome.answered, dict(outcome.errors))


class Cell(msgspec.Struct, frozen=True):
    """All runs of a series with so many replicas, a run a round."""

    series: Series
    replicas: int
    direct: bool
    """Whether the replica was asked without Envoy."""
    runs: list[Run] = msgspec.field(default_factory=list)

    @property
    def failed(self) -> int:
        return sum(sum(run.errors.values()) for run in self.runs)

    def values(self, name: str) -> list[float]:
        return [getattr(run, name) for run in self.runs]


class Results(msgspec.Struct, frozen=True):
    """Everything of one command."""

    command: str
    provenance: str
    rounds: int
    seconds: int
    cells: list[Cell]

    @property
    def series(self) -> list[Series]:
        """Those that were measured, in their order."""
        return [series for series in SERIES if self.through_envoy(series)]

    @property
    def errors(self) -> Counter[str]:
        """Of all runs, by their kind."""
        return sum((Counter(run.errors) for cell in self.cells for run in cell.runs), Counter())

    def through_envoy(self, series: Series) -> list[Cell]:
        """By their number of replicas."""
        return [cell for cell in self.cells if cell.series == series and not cell.direct]

    def without_envoy(self, series: Series) -> Cell | None:
        return next((cell for cell in self.cells if cell.series == series and cell.direct), None)

    def one(self, series: Series) -> Cell | None:
        """A single replica behind Envoy."""
        return _of(1, self.through_envoy(series))

    def three(self, series: Series) -> Cell | None:
        return _of(3, self.through_envoy(series))


def ratios(cell: Cell, one: Cell) -> list[float]:
    """How many times what one replica served, in each round."""
    pairs = zip(cell.values("calls_per_second"), one.values("calls_per_second"), strict=True)
    return [rate / of_one for rate, of_one in pairs]


def _of(replicas: int, cells: Iterable[Cell]) -> Cell | None:
    return next((cell for cell in cells if cell.replicas == replicas), None)

"""What was measured: the raw numbers, as they are kept."""

from collections.abc import Iterable, Mapping

import msgspec

from load.peers.asking import Kind
from load.peers.processes import Memory


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that are answered at once."""

    contender: str
    at_once: int
    round: int
    per_second: float
    """Of those that were answered well."""
    p50_ms: float | None
    p99_ms: float | None
    answered: int
    errors: dict[str, int]


class Answered(Called, frozen=True, kw_only=True):
    """Whole answers to completions."""

    kind: Kind
    model_calls: int
    """How many completions the mock was asked for meanwhile."""


class Streamed(msgspec.Struct, frozen=True, kw_only=True):
    """Streamed answers, by the client of streams."""

    contender: str
    at_once: int
    round: int
    deltas_per_second: float
    """The model's, also where several came in one event."""
    events_per_second: float
    first_p50_ms: float | None
    first_p99_ms: float | None
    gap_p50_ms: float | None
    gap_p99_ms: float | None
    streams: int
    failures: int


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a contender, and the most memory that it was seen to take under load."""

    contender: str
    round: int
    first_answer_seconds: float
    memory: Memory


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run of the command."""

    command: str
    machine: str
    rounds: int
    seconds: int
    versions: dict[str, str]
    left_out: dict[str, str]
    """Whom, and why."""
    set_aside: list[str]
    """Runs that did not measure what they were to, and why."""
    answers: list[Answered]
    streams: list[Streamed]
    processes: list[Process]
    grpc: list[Called]
    """Cached answers over gRPC."""
    limiters: list[Called]
    """Decisions of limiters."""


def by_round(values: Iterable[tuple[int, float]]) -> dict[int, float]:
    """The largest value of each round."""
    largest: dict[int, float] = {}
    for number, value in values:
        largest[number] = max(value, largest.get(number, value))
    return largest


def ratios(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Ours through theirs, round by round; rounds in which one of them is missing or zero do not count."""
    return [ours[number] / theirs[number] for number in sorted(ours.keys() & theirs.keys()) if theirs[number]]

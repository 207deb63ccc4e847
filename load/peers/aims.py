"""What Shoal was to reach beside its peers, and whether it did, as ratios within each round."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from load.peers.asking import Kind
from load.peers.results import Called, Process, Results, Streamed, by_round, ratios

MIDDLE = 50
"""The number at once at which everybody is compared besides at each one's best."""
ECHO, MOCK, PORTKEY = "Envoy and an empty RPC", "mock alone", "Portkey"
LITELLMS = {1: "LiteLLM, 1 worker", 2: "LiteLLM, 2 workers"}


@dataclass(frozen=True, slots=True)
class Aim:
    """A ratio, or a difference in ms, that is to be at least or at most so much."""

    what: str
    against: str
    goal: float
    is_at_most: bool
    best: Sequence[float]
    """Each one's best number at once against the other's, round by round; empty if it was not measured."""
    middle: Sequence[float] = ()
    """With 50 at once, where that makes a difference."""

    @property
    def verdict(self) -> str:
        """By the median over the rounds."""
        if not self.best:
            return "not measured"
        median = statistics.median(self.best)
        is_met = median <= self.goal if self.is_at_most else median >= self.goal
        return "met" if is_met else "missed"


def aims(results: Results, shoal: str) -> list[Aim]:
    """Of one configuration of Shoal's."""
    return [
        *_answers(results, shoal),
        _grpc(results, shoal),
        *_streams(results, shoal),
        *_processes(results, shoal),
    ]


def _answers(results: Results, shoal: str) -> Iterator[Aim]:
    def aim(kind: Kind, other: str, others_kind: Kind, goal: float, note: str = "") -> Aim:
        best, middle = (
            ratios(_rates(results, shoal, kind, at_once), _rates(results, other, others_kind, at_once))
            for at_once in (None, MIDDLE)
        )
        return Aim(f"REST, {kind}{note}", other, goal, False, best, middle)

    for name in LITELLMS.values():
        yield aim("cached", name, "cached", 20)
    yield aim("cached", PORTKEY, "computed", 2, " (Portkey has no cache: computed)")
    yield Aim("REST, cached", "Bifrost", 1, False, [])
    for name in LITELLMS.values():
        yield aim("computed", name, "computed", 8)
    yield aim("computed", PORTKEY, "computed", 1)


def _grpc(results: Results, shoal: str) -> Aim:
    best, middle = (
        ratios(*(_calls(results.grpc, name, at_once) for name in (shoal, ECHO))) for at_once in (None, MIDDLE)
    )
    return Aim("gRPC, cached", ECHO, 0.6, False, best, middle)


def _streams(results: Results, shoal: str) -> Iterator[Aim]:
    for name in LITELLMS.values():
        best, middle = (
            ratios(*(_deltas(results.streams, who, at_once) for who in (shoal, name))) for at_once in (None, MIDDLE)
        )
        yield Aim("deltas/s", name, 8, False, best, middle)
    ours, mocks = (_first_deltas(results.streams, who) for who in (shoal, MOCK))
    later = [ours[number] - mocks[number] for number in sorted(ours.keys() & mocks.keys())]
    yield Aim("first delta, p50 of one at a time, later by ms", MOCK, 5, True, later)


def _processes(results: Results, shoal: str) -> Iterator[Aim]:
    def aim(what: str, other: str, goal: float, measure: Callable[[Process], float]) -> Aim:
        ours, theirs = (
            {row.round: measure(row) for row in results.processes if row.contender == who} for who in (shoal, other)
        )
        return Aim(what, other, goal, True, ratios(ours, theirs))

    yield aim("PSS of all Python processes", LITELLMS[2], 1, lambda row: row.memory.python_pss)
    for name in LITELLMS.values():
        yield aim("start to first answer", name, 1 / 3, lambda row: row.first_answer_seconds)


def _rates(results: Results, who: str, kind: Kind, at_once: int | None) -> Mapping[int, float]:
    return by_round(
        (row.round, row.per_second)
        for row in results.answers
        if (row.contender, row.kind) == (who, kind) and at_once in (None, row.at_once)
    )


def _calls(rows: Sequence[Called], who: str, at_once: int | None) -> Mapping[int, float]:
    return by_round(
        (row.round, row.per_second) for row in rows if row.contender == who and at_once in (None, row.at_once)
    )


def _deltas(rows: Sequence[Streamed], who: str, at_once: int | None) -> Mapping[int, float]:
    return by_round(
        (row.round, row.deltas_per_second) for row in rows if row.contender == who and at_once in (None, row.at_once)
    )


def _first_deltas(rows: Sequence[Streamed], who: str) -> Mapping[int, float]:
    """Of one stream at a time, in ms; a round without any is missing."""
    return {
        row.round: row.first_p50_ms
        for row in rows
        if (row.contender, row.at_once) == (who, 1) and row.first_p50_ms is not None
    }

"""The aims beside the peers are judged by ratios of each one's best number at once, within a round."""

import json

import pytest
from msgspec.structs import replace

from load.peers.aims import ECHO, LITELLMS, MOCK, PORTKEY, Aim, aims
from load.peers.asking import Ask, Kind
from load.peers.measurement import fault_of
from load.peers.processes import Memory
from load.peers.report import section
from load.peers.results import Answered, Called, Process, Results, Streamed, by_round, ratios

SHOAL = "Shoal"
ONE, TWO = LITELLMS[1], LITELLMS[2]


def answered(who: str, kind: Kind, number: int, at_once: int, per_second: float) -> Answered:
    return Answered(
        contender=who, kind=kind, at_once=at_once, round=number, per_second=per_second, p50_ms=1.0, p99_ms=None,
        answered=10, errors={"503": 1}, model_calls=0,
    )  # fmt: skip


def streamed(who: str, number: int, at_once: int, deltas: float, first_ms: float) -> Streamed:
    return Streamed(
        contender=who, at_once=at_once, round=number, deltas_per_second=deltas, events_per_second=deltas,
        first_p50_ms=first_ms, first_p99_ms=first_ms, gap_p50_ms=0.1, gap_p99_ms=0.2, streams=1, failures=0,
    )  # fmt: skip


def process(who: str, python: float, seconds: float) -> Process:
    return Process(contender=who, round=1, first_answer_seconds=seconds, memory=Memory(1, 2.0, 1.5, python))


def results(
    *,
    answers: list[Answered] | None = None,
    streams: list[Streamed] | None = None,
    processes: list[Process] | None = None,
    grpc: list[Called] | None = None,
) -> Results:
    return Results(
        command="python -m load.peers", machine="A machine.", rounds=2, seconds=3, versions={"LiteLLM": "1"},
        left_out={"Bifrost": "it is not there"}, set_aside=["LiteLLM, round 2: it fell over"],
        answers=answers or [], streams=streams or [], processes=processes or [], grpc=grpc or [], limiters=[],
    )  # fmt: skip


def aim(measured: Results, what: str, against: str) -> Aim:
    [found] = [each for each in aims(measured, SHOAL) if each.what.startswith(what) and each.against == against]
    return found


def test_a_round_counts_with_its_largest_value() -> None:
    assert by_round([(1, 3.0), (1, 5.0), (2, 4.0), (1, 2.0)]) == {1: 5.0, 2: 4.0}


def test_ratios_are_of_the_same_round_and_skip_rounds_without_a_value() -> None:
    assert ratios({1: 6.0, 2: 9.0, 3: 1.0}, {1: 2.0, 2: 0.0, 4: 1.0}) == [3.0]


def test_each_ones_best_number_at_once_is_compared_and_the_middle_one_besides() -> None:
    measured = results(
        answers=[
            answered(SHOAL, "cached", 1, 10, 400.0),
            answered(SHOAL, "cached", 1, 50, 300.0),
            answered(TWO, "cached", 1, 50, 10.0),
            answered(TWO, "cached", 1, 200, 20.0),
            answered(TWO, "computed", 1, 50, 1.0),
        ]
    )
    cached = aim(measured, "REST, cached", TWO)
    assert (cached.best, cached.middle, cached.verdict) == ([20.0], [30.0], "met")
    assert aim(measured, "REST, cached", ONE).verdict == "not measured"


def test_cached_answers_are_held_against_portkeys_computed_ones() -> None:
    measured = results(answers=[answered(SHOAL, "cached", 1, 50, 30.0), answered(PORTKEY, "computed", 1, 50, 20.0)])
    cached = aim(measured, "REST, cached", PORTKEY)
    assert (cached.best, cached.verdict) == ([1.5], "missed")
    assert "computed" in cached.what


def test_the_verdict_is_by_the_median_of_the_rounds() -> None:
    at_least = Aim("", "", 8, is_at_most=False, best=[7.0, 8.0, 30.0])
    at_most = Aim("", "", 8, is_at_most=True, best=[1.0, 9.0, 9.0])
    assert (at_least.verdict, at_most.verdict) == ("met", "missed")


def test_the_first_delta_is_a_difference_of_single_streams() -> None:
    measured = results(
        streams=[
            streamed(SHOAL, 1, 1, 100.0, 6.0),
            streamed(SHOAL, 1, 50, 900.0, 80.0),
            streamed(MOCK, 1, 1, 5000.0, 0.5),
            streamed(ONE, 1, 50, 90.0, 500.0),
        ]
    )
    first = aim(measured, "first delta", MOCK)
    assert (first.best, first.verdict) == ([5.5], "missed")
    assert aim(measured, "deltas/s", ONE).best == [10.0]


def test_less_memory_and_a_shorter_start_meet_their_aims() -> None:
    measured = results(processes=[process(SHOAL, 330.0, 4.0), process(TWO, 660.0, 10.0)])
    assert aim(measured, "PSS", TWO).verdict == "met"
    assert aim(measured, "start", TWO).verdict == "missed"


def test_grpc_is_held_against_the_empty_rpc() -> None:
    rows = [
        Called(contender=who, at_once=50, round=1, per_second=rate, p50_ms=1.0, p99_ms=2.0, answered=1, errors={})
        for who, rate in ((SHOAL, 700.0), (ECHO, 1000.0))
    ]
    assert aim(results(grpc=rows), "gRPC", ECHO).best == [0.7]


@pytest.mark.parametrize(
    ("kind", "model_calls", "is_faulty"),
    [("cached", 12, False), ("cached", 13, True), ("computed", 100, False), ("computed", 99, True)],
)
def test_a_run_that_measured_something_else_is_known_by_the_calls_of_the_model(
    kind: Kind, model_calls: int, is_faulty: bool
) -> None:
    row = replace(answered(SHOAL, kind, 1, 10, 5.0), answered=100, model_calls=model_calls)
    assert bool(fault_of(row)) is is_faulty


def test_the_section_says_who_is_left_out_and_adds_up_errors() -> None:
    rows = [answered(ONE, "cached", number, 50, 10.0) for number in (1, 2)]
    text = section(results(answers=rows))
    assert "Bifrost is left out: it is not there." in text
    assert "Set aside: LiteLLM, round 2: it fell over." in text
    assert f"| {ONE} | 50 | 10 | 10 | 10 | 1 |  | 20 | 503: 2 |" in text


@pytest.mark.parametrize("extra", [{}, {"cache": {"use-cache": True}}])
def test_a_stream_is_asked_for_as_a_whole_answer_is(extra: dict[str, object]) -> None:
    ask = Ask("http://127.0.0.1:1/v1/chat/completions", {"Authorization": "Bearer key"}, extra)
    command, body = ask.streamed("streams", 50, 3)
    [whole] = ask.request().bodies
    assert json.loads(body) == {**json.loads(whole), "stream": True}
    assert "Authorization: Bearer key" in command

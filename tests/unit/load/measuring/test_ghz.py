"""Reports of ghz."""

import msgspec
import pytest

from load.measuring.generator import MeasurementError
from load.measuring.ghz import delimited, outcome_in, speed_in
from load.measuring.speed import Load, Outcome, Speed

LOAD = Load(calls=100, workers=10, connections=2)


def _report(answers: dict[str, int]) -> bytes:
    latencies = [{"percentage": share, "latency": share * 1_000_000} for share in (10, 50, 99)]
    report = {"count": 100, "rps": 4321.5, "statusCodeDistribution": answers, "latencyDistribution": latencies}
    return msgspec.json.encode(report)


def test_a_report_tells_the_speed_and_the_latencies() -> None:
    assert speed_in(_report({"OK": 100}), LOAD) == Speed(calls_per_second=4321.5, p50_ms=50, p99_ms=99)


@pytest.mark.parametrize("answers", [{"OK": 99}, {"OK": 99, "Unavailable": 1}, {"Unavailable": 100}, {}])
def test_a_run_with_failed_calls_is_no_measurement(answers: dict[str, int]) -> None:
    with pytest.raises(MeasurementError, match="not all were answered"):
        speed_in(_report(answers), LOAD)


def test_a_run_too_short_for_percentiles_is_no_measurement() -> None:
    report = {"count": 1, "rps": 1.0, "statusCodeDistribution": {"OK": 1}, "latencyDistribution": None}
    with pytest.raises(MeasurementError, match="measure more"):
        speed_in(msgspec.json.encode(report), Load(calls=1, workers=1, connections=1))


@pytest.mark.parametrize(
    ("size", "prefix"), [(0, b"\x00"), (1, b"\x01"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")]
)
def test_a_message_is_preceded_by_its_length(size: int, prefix: bytes) -> None:
    assert delimited(b"x" * size) == prefix + b"x" * size


def _timed_report(latencies: list[int], statuses: dict[str, int]) -> bytes:
    answers = [{"latency": latency * 1_000_000} for latency in latencies]
    report = {"count": len(latencies), "rps": 1.0, "total": 4_000_000_000, "details": answers or None}
    return msgspec.json.encode({**report, "statusCodeDistribution": statuses})


def test_a_run_for_a_time_tells_its_failures_by_their_status() -> None:
    outcome = outcome_in(_timed_report(list(range(1, 101)), {"OK": 60, "ResourceExhausted": 40}))
    assert outcome == Outcome(4.0, 60, {"ResourceExhausted": 40}, p50_ms=51, p95_ms=96, p99_ms=100)
    assert outcome.calls_per_second == 15


def test_of_few_calls_there_are_no_high_percentiles() -> None:
    outcome = outcome_in(_timed_report([1, 2, 3], {"OK": 3}))
    assert (outcome.p50_ms, outcome.p95_ms, outcome.p99_ms) == (2, None, None)


def test_a_run_may_end_without_an_answer() -> None:
    assert outcome_in(_timed_report([], {})) == Outcome(4.0, 0, {}, None, None, None)

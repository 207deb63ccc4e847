"""Reports of wrk."""

import msgspec

from load.measuring.speed import Outcome
from load.measuring.wrk import RestRequest, lua_quoted, outcome_in

STREAM = RestRequest("POST", {}, ["{}"], ending="data: [DONE]")


def _report(statuses: dict[str, int], *, incomplete: int = 0, timeouts: int = 0) -> bytes:
    report = {
        "duration": 2_000_000,
        "statuses": statuses,
        "incomplete": incomplete,
        "sockets": {"read": 0, "timeout": timeouts},
        "percentiles": {"50": 1500, "95": 9000, "99": 12000},
    }
    return b"Running 2s test\n" + msgspec.json.encode(report) + b"\n"


def test_a_report_tells_the_speed_and_the_latencies() -> None:
    outcome = outcome_in(_report({"200": 1000}), STREAM)
    assert outcome == Outcome(2.0, 1000, {}, p50_ms=1.5, p95_ms=9.0, p99_ms=12.0)
    assert outcome.calls_per_second == 500


def test_failures_are_counted_by_kind() -> None:
    outcome = outcome_in(_report({"200": 100, "429": 300}, incomplete=4, timeouts=1), STREAM)
    assert (outcome.answered, outcome.errors) == (96, {"429": 300, "incomplete": 4, "timeout": 1})
    assert outcome.failed == 305


def test_of_few_requests_there_are_no_high_percentiles() -> None:
    outcome = outcome_in(_report({"200": 20}), STREAM)
    assert (outcome.p50_ms, outcome.p95_ms, outcome.p99_ms) == (1.5, 9.0, None)


def test_nothing_in_a_text_ends_the_string_that_it_is_in() -> None:
    assert lua_quoted('a"\\\né') == '"\\097\\034\\092\\010\\195\\169"'

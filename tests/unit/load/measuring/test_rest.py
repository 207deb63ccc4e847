"""Reports of our REST client."""

import msgspec
import pytest

from load.measuring.generator import MeasurementError
from load.measuring.rest import Request, speed_in
from load.measuring.rest_client import Report
from load.measuring.speed import Load, Speed

LOAD = Load(calls=10, workers=2, connections=2)
NOT_MODIFIED = Request("GET", "http://127.0.0.1/", {}, status=304)


def _report(statuses: dict[int, int]) -> bytes:
    return msgspec.json.encode(Report(statuses, calls_per_second=500.0, p50_ms=2.0, p99_ms=3.0))


def test_a_report_tells_the_speed_and_the_latencies() -> None:
    assert speed_in(_report({304: 10}), NOT_MODIFIED, LOAD) == Speed(calls_per_second=500, p50_ms=2, p99_ms=3)


@pytest.mark.parametrize("statuses", [{304: 9}, {304: 9, 200: 1}, {200: 10}, {429: 10}, {}])
def test_a_run_with_other_answers_is_no_measurement(statuses: dict[int, int]) -> None:
    with pytest.raises(MeasurementError, match="not all were answered 304"):
        speed_in(_report(statuses), NOT_MODIFIED, LOAD)

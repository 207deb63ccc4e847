"""Microseconds as answers tell them."""

import pytest

from services.ratelimit.durations import as_duration, millis_up, seconds_up


@pytest.mark.parametrize(
    ("micros", "millis", "seconds"),
    [(0, 0, 0), (1, 1, 1), (1000, 1, 1), (1001, 2, 1), (1_000_000, 1000, 1), (1_000_001, 1001, 2)],
)
def test_what_is_waited_is_rounded_up(micros: int, millis: int, seconds: int) -> None:
    assert (millis_up(micros), seconds_up(micros)) == (millis, seconds)


def test_a_duration_keeps_every_microsecond() -> None:
    duration = as_duration(1_500_001)
    assert (duration.seconds, duration.nanos) == (1, 500_001_000)

"""The rule over a day of traffic: mornings, lunch, a busy quarter of an hour, five minutes of fame, the night."""

import pytest

from launcher.fleet.autoscaling import Bounds
from load.autoscaling import DAY_SECONDS, SAMPLE_SECONDS, Day, day, plot, summary

HOUR = 3600 // SAMPLE_SECONDS


@pytest.fixture(scope="module", params=range(1, 6), ids="seed {}".format)
def result(request: pytest.FixtureRequest) -> Day:
    return day(Bounds(2, 8), seed=request.param)


def test_it_does_not_flap(result: Day) -> None:
    """The night, the morning, lunch and the evening need some; a rule that flaps makes up to 288."""
    assert 4 <= len(result.changes) <= 20


def test_the_pool_is_neither_idle_nor_full_for_long(result: Day) -> None:
    assert result.in_band > 0.95


def test_hardly_a_turn_is_refused_though_traffic_jumps_to_two_and_a_half_times(result: Day) -> None:
    assert result.refused / result.arrived < 0.005


def test_it_costs_much_less_than_a_pool_for_the_peak(result: Day) -> None:
    mean = sum(sample.replicas for sample in result.samples) / len(result.samples)
    assert mean < 0.75 * max(sample.replicas for sample in result.samples)


def test_the_night_has_the_least_and_noon_the_most(result: Day) -> None:
    assert {sample.replicas for sample in result.samples[HOUR : 4 * HOUR]} == {2}
    assert max(sample.replicas for sample in result.samples[9 * HOUR : 12 * HOUR]) == 8


def test_lunch_takes_nothing_away_that_the_afternoon_needs(result: Day) -> None:
    """An hour of less traffic is still above the lower threshold."""
    assert {sample.replicas for sample in result.samples[int(12.5 * HOUR) : 14 * HOUR]} == {8}


def test_without_the_rule_such_a_day_is_refused_in_great_part() -> None:
    fixed = day(Bounds(2, 2), seed=1)
    assert fixed.changes == []
    assert fixed.refused / fixed.arrived > 0.3


def test_a_day_is_the_same_for_the_same_seed() -> None:
    assert summary(day(Bounds(2, 8), seed=1)) == summary(day(Bounds(2, 8), seed=1))


def test_the_plot_has_the_load_and_the_replicas_above_it(result: Day) -> None:
    lines = plot(result).splitlines()
    assert len(result.samples) == DAY_SECONDS // SAMPLE_SECONDS
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1].split()[:2] == ["00h", "03h"]
    [full] = [line for line in lines if line.startswith("   8 |")]
    assert ":::::" in full

"""What grows is told from what only wavers."""

import math
from collections.abc import Callable

import pytest

from load.soak.flatness import Life, lives
from load.soak.record import ProcessSample, Sample

MIB = 2**20
EVERY, END = 5, 1800

Value = Callable[[float], float]
"""By the seconds since the process was started."""


def sampled(
    rss: Value, *, descriptors: Value = lambda _: 20, began: int = 0, ended: int = END, pid: int = 7
) -> list[Sample]:
    """A process that is there from one moment to another."""

    def at(now: int) -> list[ProcessSample]:
        age = now - began
        if not began <= now <= ended:
            return []
        return [ProcessSample("agent-1", "agent", pid, round(rss(age)), 0, round(descriptors(age)), 0.0)]

    return [Sample(now, {}, at(now)) for now in range(0, END + 1, EVERY)]


def judged(samples: list[Sample]) -> Life:
    [life] = lives(samples, since=0, warm_up=180, least=540)
    return life


@pytest.mark.parametrize(
    ("rss", "is_flat"),
    [
        (lambda age: 80 * MIB, True),
        (lambda age: (80 + 3 * math.sin(age / 20)) * MIB, True),
        (lambda age: (80 + 0.7 * age / 1620) * MIB, True),
        (lambda age: (80 + 0.9 * age / 1620) * MIB, False),
        (lambda age: (80 + 6 * age / 1620 + 3 * math.sin(age / 20)) * MIB, False),
        (lambda age: (80 - 6 * age / 1620) * MIB, True),
        (lambda age: (4 + 0.4 * age / 1620) * MIB, True),
        (lambda age: (4 + 0.6 * age / 1620) * MIB, False),
    ],
)
def test_memory_is_flat_unless_a_line_through_it_rises(rss: Value, is_flat: bool) -> None:
    assert judged(sampled(rss)).memory_is_flat is is_flat


@pytest.mark.parametrize(("lost_an_hour", "is_flat"), [(0, True), (1, True), (4, False)])
def test_descriptors_that_are_lost_slowly_are_found(lost_an_hour: int, is_flat: bool) -> None:
    life = judged(sampled(lambda _: 80 * MIB, descriptors=lambda age: 20 + age * lost_an_hour / 3600 + age % 3))
    assert life.descriptors_are_flat is is_flat


def test_what_a_process_takes_in_its_first_minutes_is_not_growth() -> None:
    life = judged(sampled(lambda age: min(40 + age / 2, 100) * MIB, began=600))
    assert life.memory.growth == pytest.approx(0)
    assert life.seconds == 1800 - 600 - 180


def test_what_was_held_in_the_first_half_is_of_no_interest_after_it() -> None:
    [life] = lives(sampled(lambda age: (80 if age < 900 else 90) * MIB), since=900, warm_up=180, least=540)
    assert life.memory.growth == pytest.approx(0)
    assert life.seconds == 900


def test_the_growth_is_that_of_the_judged_time() -> None:
    life = judged(sampled(lambda age: (50 + age / 100) * MIB))
    assert life.memory.growth / MIB == pytest.approx(16.2, abs=0.01)
    assert life.memory.median / MIB == pytest.approx(50 + 9.9, abs=0.01)


def test_a_short_life_is_not_judged() -> None:
    assert not lives(sampled(lambda _: 80 * MIB, ended=600), since=0, warm_up=180, least=540)


def test_processes_of_one_name_are_judged_each_for_itself() -> None:
    """The second took the place of the first and holds less, which is no fall."""
    first = sampled(lambda _: 90 * MIB, ended=900)
    second = sampled(lambda _: 70 * MIB, began=905, pid=8)
    both = [
        Sample(one.seconds, {}, [*one.processes, *other.processes]) for one, other in zip(first, second, strict=True)
    ]
    found = lives(both, since=0, warm_up=180, least=540)
    assert [life.pid for life in found] == [7, 8]
    assert [life.memory.growth for life in found] == pytest.approx([0, 0])

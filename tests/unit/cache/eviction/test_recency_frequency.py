"""Eviction by recency and frequency."""

import math

from hypothesis import given
from hypothesis import strategies as st

from services.cache.eviction.recency_frequency import RecencyFrequency

NOW = 1000.0

histories = st.dictionaries(
    st.text(max_size=5), st.tuples(st.floats(0, 2 * NOW), st.integers(0, 20)), min_size=1, max_size=60
)
"""When each key was last used, and how often."""


def of(history: dict[str, tuple[float, int]]) -> RecencyFrequency:
    eviction = RecencyFrequency()
    for key, (last_used, uses) in history.items():
        eviction.stored(key, last_used)
        for _ in range(uses):
            eviction.used(key, last_used)
    return eviction


def score(last_used: float, uses: int) -> float:
    return max(0.0, NOW - last_used) / (uses + 1)


@given(history=histories)
def test_a_fifth_goes_and_nothing_that_stays_has_a_higher_score(history: dict[str, tuple[float, int]]) -> None:
    going = of(history).victims(NOW)
    assert len(going) == len(set(going)) == math.ceil(len(history) / 5)
    lowest = min(score(*history[key]) for key in going)
    assert all(score(*history[key]) <= lowest for key in history.keys() - set(going))


def test_long_ago_but_often_stays_before_recently_but_once() -> None:
    assert of({"often": (NOW - 50, 9), "once": (NOW - 10, 0)}).victims(NOW) == ["once"]


def test_a_use_makes_a_key_safer() -> None:
    eviction = of({"first": (NOW - 60, 0), "second": (NOW - 50, 0)})
    eviction.used("first", NOW - 10)
    assert eviction.victims(NOW) == ["second"]


def test_among_equals_what_was_stored_first_goes_first() -> None:
    assert of({str(number): (NOW - 1, 0) for number in range(10)}).victims(NOW) == ["0", "1"]


def test_equals_give_way_to_what_is_worse_wherever_it_stands() -> None:
    history = {str(number): (NOW - 1, 0) for number in range(9)}
    assert of({**history, "worst": (NOW - 2, 0)}).victims(NOW) == ["worst", "0"]


def test_what_is_replaced_is_recent_and_keeps_its_uses() -> None:
    eviction = of({"replaced": (NOW - 60, 2), "once": (NOW - 9, 0), "twice": (NOW - 16, 1)})
    eviction.stored("replaced", NOW - 10)
    assert [eviction.victims(NOW) for _ in range(3)] == [["once"], ["twice"], ["replaced"]]


def test_a_clock_that_was_set_back_makes_nobody_worse_than_unused() -> None:
    eviction = of({"old": (NOW - 10, 0), "of the future": (NOW + 100, 5)})
    assert eviction.victims(NOW) == ["old"]


def test_what_has_gone_is_new_when_it_comes_back() -> None:
    eviction = of({"back": (NOW - 30, 9), "other": (NOW - 20, 1)})
    eviction.removed("back")
    eviction.stored("back", NOW - 20)
    assert eviction.victims(NOW) == ["back"]

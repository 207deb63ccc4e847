"""Which entries make room."""

import math

from hypothesis import given
from hypothesis import strategies as st

from services.cache.eviction import Usage, score, worst_fifth

NOW = 1000.0

usages = st.dictionaries(
    st.text(max_size=5), st.builds(Usage, last_used=st.floats(0, 2 * NOW), uses=st.integers(0, 50)), max_size=60
)


def test_the_score_is_the_time_since_the_last_use_over_uses_plus_one() -> None:
    assert score(Usage(last_used=NOW - 60.0, uses=0), NOW) == 60.0
    assert score(Usage(last_used=NOW - 60.0, uses=3), NOW) == 15.0


def test_a_use_makes_an_entry_safer() -> None:
    usage = Usage(last_used=NOW - 60.0)
    usage.record(NOW - 10.0)
    assert usage == Usage(last_used=NOW - 10.0, uses=1)


def test_long_ago_but_often_beats_recent_but_once() -> None:
    entries = {"often": Usage(last_used=NOW - 50.0, uses=9), "once": Usage(last_used=NOW - 10.0, uses=0)}
    assert worst_fifth(entries, NOW) == ["once"]


def test_among_equals_the_oldest_goes_first() -> None:
    assert worst_fifth({str(number): Usage(last_used=NOW) for number in range(10)}, NOW) == ["0", "1"]


@given(entries=usages)
def test_the_worst_fifth_is_a_fifth_and_nothing_that_stays_is_worse(entries: dict[str, Usage]) -> None:
    going = worst_fifth(entries, NOW)
    staying = entries.keys() - set(going)
    assert len(set(going)) == math.ceil(len(entries) / 5)
    assert all(score(entries[key], NOW) <= score(entries[gone], NOW) for key in staying for gone in going)

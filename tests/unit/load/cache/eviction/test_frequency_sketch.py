"""The sketch of frequencies."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from load.cache.eviction.frequency_sketch import MOST, SEEN_PER_KEY, FrequencySketch

KEYS = 50


@given(seen=st.lists(st.integers(0, KEYS - 1).map(str), max_size=KEYS * SEEN_PER_KEY - 1))
def test_counts_are_never_too_low(seen: list[str]) -> None:
    sketch = FrequencySketch(keys=KEYS)
    for key in seen:
        sketch.record(key)
    assert all(sketch.count(key) >= min(count, MOST) for key, count in Counter(seen).items())


def test_counts_are_right_for_most_keys() -> None:
    sketch = FrequencySketch(keys=1000)
    for number in range(1000):
        for _ in range(1 + number % 5):
            sketch.record(str(number))
    right = [sketch.count(str(number)) == 1 + number % 5 for number in range(1000)]
    assert sum(right) > 990


def test_what_was_never_seen_counts_nothing() -> None:
    sketch = FrequencySketch(keys=1000)
    for number in range(1000):
        sketch.record(str(number))
    assert sum(sketch.count(f"unseen {number}") == 0 for number in range(1000)) > 950


def test_the_past_counts_half_after_a_while() -> None:
    sketch = FrequencySketch(keys=10)
    for _ in range(8):
        sketch.record("famous")
    assert sketch.count("famous") == 8
    for _ in range(10 * SEEN_PER_KEY - 8):
        sketch.record("another")
    assert (sketch.count("famous"), sketch.count("another")) == (4, MOST // 2)

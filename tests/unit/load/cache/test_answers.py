"""Answers for measuring."""

import pytest

from load.cache.answers import ANSWER_BYTES, SHAPES, answer, key


@pytest.mark.parametrize("events", SHAPES.values())
def test_an_answer_has_its_size_in_events_of_about_the_same_size(events: int) -> None:
    pieces = answer(events)
    assert len(pieces) == events
    assert sum(map(len, pieces)) == ANSWER_BYTES
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


def test_every_answer_has_a_key_of_its_own_that_the_cache_takes() -> None:
    keys = {key(number) for number in range(100)}
    assert len(keys) == 100
    assert all(len(each) == 64 and int(each, 16) >= 0 for each in keys)

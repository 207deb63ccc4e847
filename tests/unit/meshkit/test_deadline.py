"""Deadlines: what is left is passed on minus a margin, and what cannot be finished is not begun."""

from collections.abc import Callable

import pytest

from meshkit.deadline import FLOOR_SECONDS, MARGIN_SECONDS, accept, onward
from meshkit.errors import Reason, ShoalError

NOW = 5_000.0
LONGEST_SECONDS = 900.0


def refused(attempt: Callable[[], float]) -> None:
    with pytest.raises(ShoalError) as raised:
        attempt()
    assert raised.value.reason is Reason.DEADLINE_EXCEEDED


def test_a_call_must_be_done_when_its_caller_gives_up() -> None:
    assert accept(10.0, NOW, longest_seconds=LONGEST_SECONDS) == NOW + 10.0


@pytest.mark.parametrize("remaining", [None, LONGEST_SECONDS + 1, float("inf")])
def test_no_call_lasts_longer_than_the_longest(remaining: float | None) -> None:
    assert accept(remaining, NOW, longest_seconds=LONGEST_SECONDS) == NOW + LONGEST_SECONDS


@pytest.mark.parametrize("remaining", [FLOOR_SECONDS - 0.001, 0.0, -1.0])
def test_a_call_without_time_is_not_begun(remaining: float) -> None:
    refused(lambda: accept(remaining, NOW, longest_seconds=LONGEST_SECONDS))


def test_a_call_with_just_enough_time_is_begun() -> None:
    assert accept(FLOOR_SECONDS, NOW, longest_seconds=LONGEST_SECONDS) == NOW + FLOOR_SECONDS


def test_the_next_hop_gets_what_is_left_minus_the_margin() -> None:
    assert onward(NOW + 10, NOW) == pytest.approx(10 - MARGIN_SECONDS)


def test_a_hop_may_have_a_bound_of_its_own() -> None:
    assert onward(NOW + 10, NOW, longest_seconds=2.0) == 2.0


@pytest.mark.parametrize("left", [MARGIN_SECONDS / 2, 0.0, -1.0])
def test_nothing_is_passed_on_when_nothing_is_left(left: float) -> None:
    refused(lambda: onward(NOW + left, NOW))


def test_a_call_that_was_accepted_can_call_on() -> None:
    assert onward(accept(FLOOR_SECONDS, NOW, longest_seconds=LONGEST_SECONDS), NOW) > 0

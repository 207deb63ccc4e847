"""Token bucket arithmetic."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ratelimit.buckets.bucket import MICROS_PER_SECOND, MOST_GRAINS, Level, Limit, Mode, Spend, refilled, take

FREE = Limit(rate_per_second=1, capacity=10)
BASIC = Limit(rate_per_second=10, capacity=50)

limits = st.builds(
    Limit,
    rate_per_second=st.integers(1, 10**9).map(lambda thousandths: thousandths / 1000)
    | st.builds(Fraction, st.integers(1, 10**6), st.sampled_from([7, 60, 3600])),
    capacity=st.integers(1, 10**6),
)
times = st.integers(0, 10**16)


def held(limit: Limit, tokens: float, *, at: int = 0) -> Level:
    return Level(round(tokens * limit.grains_per_token), at, limit.grains_per_token)


@st.composite
def limits_with_level(draw: st.DrawFn) -> tuple[Limit, Level]:
    limit = draw(limits)
    return limit, Level(draw(st.integers(0, limit.full)), draw(times), limit.grains_per_token)


def test_a_bucket_that_nobody_remembers_is_full() -> None:
    decision, _ = take([Spend("a", FREE, 10)], {}, now=0)
    assert decision.allowed
    assert decision.holdings[0].remaining == 0


def test_a_token_comes_back_after_its_time_and_not_before() -> None:
    empty = {"a": held(FREE, 0)}
    early, _ = take([Spend("a", FREE, 1)], empty, now=MICROS_PER_SECOND - 1)
    in_time, _ = take([Spend("a", FREE, 1)], empty, now=MICROS_PER_SECOND)
    assert not early.allowed
    assert early.retry_after_micros == 1
    assert in_time.allowed


def test_a_refusal_changes_nothing() -> None:
    decision, changed = take([Spend("a", FREE, 1)], {"a": held(FREE, 0)}, now=500_000)
    assert not decision.allowed
    assert changed == {}


def test_looking_changes_nothing() -> None:
    decision, changed = take([Spend("a", FREE, 0)], {"a": held(FREE, 3)}, now=500_000)
    assert decision.allowed
    assert decision.holdings[0].remaining == 3
    assert decision.holdings[0].full_in_micros == 6_500_000
    assert changed == {}


def test_of_several_buckets_all_pay_or_none() -> None:
    spends = [Spend("rich", BASIC, 2), Spend("poor", FREE, 2)]
    poor = {"poor": held(FREE, 1)}
    refused, changed = take(spends, poor, now=0)
    assert not refused.allowed
    assert refused.retry_after_micros == MICROS_PER_SECOND
    assert [holding.remaining for holding in refused.holdings] == [50, 1]
    assert changed == {}
    allowed, changed = take(spends, poor, now=MICROS_PER_SECOND)
    assert allowed.allowed
    assert [holding.remaining for holding in allowed.holdings] == [48, 0]
    assert changed.keys() == {"rich", "poor"}


def test_the_wait_is_that_of_the_slowest_bucket() -> None:
    spends = [Spend("slow", FREE, 3), Spend("fast", BASIC, 3)]
    decision, _ = take(spends, {"slow": held(FREE, 0), "fast": held(BASIC, 0)}, now=0)
    assert decision.retry_after_micros == 3 * MICROS_PER_SECOND


def test_a_clock_that_steps_back_neither_freezes_nor_refills() -> None:
    hour = 3600 * MICROS_PER_SECOND
    refused, changed = take([Spend("a", FREE, 1)], {"a": held(FREE, 0, at=hour)}, now=0)
    assert not refused.allowed
    assert refused.retry_after_micros == MICROS_PER_SECOND
    allowed, _ = take([Spend("a", FREE, 1)], changed, now=MICROS_PER_SECOND)
    assert allowed.allowed
    assert allowed.holdings[0].remaining == 0


def test_a_smaller_tier_cuts_what_is_held() -> None:
    decision, _ = take([Spend("a", FREE, 0)], {"a": held(BASIC, 50)}, now=0)
    assert decision.holdings[0].remaining == 10
    assert decision.holdings[0].full_in_micros == 0


def test_a_changed_limit_keeps_the_whole_tokens() -> None:
    per_second, per_minute = Limit(3, 10), Limit.per(7, 60, capacity=10)
    assert per_second.grains_per_token != per_minute.grains_per_token
    decision, _ = take([Spend("a", per_minute, 0)], {"a": held(per_second, 4.9)}, now=0)
    assert decision.holdings[0].remaining == 4


@given(limit_and_level=limits_with_level(), elapsed=st.integers(0, 10**13))
def test_refill_is_exact_and_stops_at_the_capacity(limit_and_level: tuple[Limit, Level], elapsed: int) -> None:
    limit, level = limit_and_level
    gained = limit.rate_per_second * elapsed / MICROS_PER_SECOND
    tokens = min(limit.capacity, Fraction(level.grains, limit.grains_per_token) + gained)
    assert Fraction(refilled(limit, level, level.at + elapsed), limit.grains_per_token) == tokens


@given(limit_and_level=limits_with_level(), first=st.integers(0, 10**9), second=st.integers(0, 10**9))
def test_looking_in_between_does_not_change_the_refill(
    limit_and_level: tuple[Limit, Level], first: int, second: int
) -> None:
    limit, level = limit_and_level
    looked = Level(refilled(limit, level, level.at + first), level.at + first, level.grains_per_token)
    then = level.at + first + second
    assert refilled(limit, looked, then) == refilled(limit, level, then)


@given(limit_and_level=limits_with_level(), data=st.data())
def test_waiting_exactly_as_told_passes_and_a_microsecond_less_does_not(
    limit_and_level: tuple[Limit, Level], data: st.DataObject
) -> None:
    limit, level = limit_and_level
    spend = Spend("a", limit, data.draw(st.integers(1, limit.capacity)))
    decision, _ = take([spend], {"a": level}, level.at)
    wait = decision.retry_after_micros
    assert (wait == 0) == decision.allowed
    assert take([spend], {"a": level}, level.at + wait)[0].allowed
    if wait:
        assert not take([spend], {"a": level}, level.at + wait - 1)[0].allowed


@given(limit_and_level=limits_with_level())
def test_the_bucket_is_full_exactly_when_told(limit_and_level: tuple[Limit, Level]) -> None:
    limit, level = limit_and_level
    decision, _ = take([Spend("a", limit, 0)], {"a": level}, level.at)
    full_in = decision.holdings[0].full_in_micros
    assert refilled(limit, level, level.at + full_in) == limit.full
    if full_in:
        assert refilled(limit, level, level.at + full_in - 1) < limit.full


@given(limit=limits, steps=st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**6)), max_size=30))
def test_no_history_admits_more_than_the_capacity_and_the_refill(limit: Limit, steps: list[tuple[int, int]]) -> None:
    levels: dict[str, Level] = {}
    now = admitted = 0
    for elapsed, wish in steps:
        now += elapsed
        spend = Spend("a", limit, min(wish, limit.capacity))
        decision, changed = take([spend], levels, now)
        levels |= changed
        admitted += spend.cost if decision.allowed else 0
        assert 0 <= decision.holdings[0].remaining <= limit.capacity
        assert admitted <= limit.capacity + limit.rate_per_second * now / MICROS_PER_SECOND


def test_a_shadow_refuses_nothing_and_shows_that_it_would_have() -> None:
    spends = [Spend("tried", FREE, 2, Mode.SHADOW), Spend("held", BASIC, 2)]
    decision, changed = take(spends, {"tried": held(FREE, 1)}, now=0)
    assert decision.allowed
    assert decision.retry_after_micros == 0
    assert [holding.remaining for holding in decision.holdings] == [1, 48]
    assert [holding.wait_micros for holding in decision.holdings] == [MICROS_PER_SECOND, 0]
    assert changed.keys() == {"held"}


def test_a_shadow_pays_as_long_as_it_can() -> None:
    decision, changed = take([Spend("a", FREE, 4, Mode.SHADOW)], {}, now=0)
    assert decision.holdings[0].remaining == 6
    assert changed.keys() == {"a"}


def test_a_shadow_pays_nothing_when_another_bucket_refuses() -> None:
    spends = [Spend("tried", FREE, 1, Mode.SHADOW), Spend("poor", FREE, 1)]
    decision, changed = take(spends, {"poor": held(FREE, 0)}, now=0)
    assert not decision.allowed
    assert changed == {}


@pytest.mark.parametrize(("before", "after"), [(8, 0), (3, -5), (-5, -10), (-10, -10), (-12, -12)])
def test_what_is_charged_is_taken_all_the_same_up_to_a_debt_of_one_full_bucket(before: int, after: int) -> None:
    decision, changed = take([Spend("a", FREE, 8, Mode.CHARGED)], {"a": held(FREE, before)}, now=0)
    assert decision.allowed
    assert decision.holdings[0].remaining == 0
    assert changed == ({"a": held(FREE, after)} if after != before else {})


def test_what_is_given_back_never_overfills() -> None:
    decision, changed = take([Spend("a", FREE, -5)], {"a": held(FREE, 8)}, now=0)
    assert decision.allowed
    assert decision.holdings[0].remaining == 10
    assert changed == {"a": held(FREE, 10)}


def test_a_debt_is_paid_back_before_anything_passes() -> None:
    debt = {"a": held(FREE, -4)}
    refused, _ = take([Spend("a", FREE, 1)], debt, now=0)
    assert refused.retry_after_micros == 5 * MICROS_PER_SECOND
    assert refused.holdings[0].remaining == 0
    assert refused.holdings[0].full_in_micros == 14 * MICROS_PER_SECOND
    assert take([Spend("a", FREE, 1)], debt, now=5 * MICROS_PER_SECOND)[0].allowed


@given(limit=limits)
def test_a_limit_is_exact_and_fits_into_a_double(limit: Limit) -> None:
    gain = Fraction(limit.grains_per_micro, limit.grains_per_token) * MICROS_PER_SECOND
    assert gain == limit.rate_per_second
    assert limit.full <= MOST_GRAINS


@given(rate=st.fractions(Fraction(1, 10**6), 10**6), capacity=st.integers(1, 10**6))
def test_a_rate_that_needs_too_many_grains_is_the_nearest_that_fits(rate: Fraction, capacity: int) -> None:
    try:
        limit = Limit(rate, capacity)
    except ValueError:
        assert capacity / rate > 10**9
        return
    gain = Fraction(limit.grains_per_micro, limit.grains_per_token) * MICROS_PER_SECOND
    assert abs(gain / rate - 1) <= Fraction(1, 10**6)
    assert limit.full <= MOST_GRAINS


@pytest.mark.parametrize(
    ("rate", "capacity"),
    [(0, 10), (-1, 10), (2**32, 10), (1e-9, 10), (math.nan, 10), (math.inf, 10), (1, 0), (1, -1), (1, 2**32)],
)
def test_a_limit_out_of_range_is_refused(rate: float, capacity: int) -> None:
    with pytest.raises(ValueError, match="must be from"):
        Limit(rate, capacity)


def test_a_rate_too_low_for_its_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="too low"):
        Limit(Fraction(1, 86400), 2**32 - 1)


def test_a_cost_that_the_bucket_never_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be asked"):
        Spend("a", FREE, 11)

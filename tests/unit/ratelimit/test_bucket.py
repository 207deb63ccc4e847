"""Token bucket arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ratelimit.bucket import GRAINS_PER_TOKEN, MICROS_PER_SECOND, Level, Limit, Spend, refilled, take

FREE = Limit(rate_per_second=1, capacity=10)
BASIC = Limit(rate_per_second=10, capacity=50)

limits = st.builds(
    Limit,
    rate_per_second=st.integers(1, 10**9).map(lambda thousandths: thousandths / 1000),
    capacity=st.integers(1, 10**6),
)
times = st.integers(0, 10**16)


@st.composite
def limits_with_level(draw: st.DrawFn) -> tuple[Limit, Level]:
    limit = draw(limits)
    return limit, Level(draw(st.integers(0, limit.full)), draw(times))


def test_a_bucket_that_nobody_remembers_is_full() -> None:
    decision, _ = take([Spend("a", FREE, 10)], {}, now=0)
    assert decision.allowed
    assert decision.holdings[0].remaining == 0


def test_a_token_comes_back_after_its_time_and_not_before() -> None:
    empty = {"a": Level(0, at=0)}
    early, _ = take([Spend("a", FREE, 1)], empty, now=MICROS_PER_SECOND - 1)
    in_time, _ = take([Spend("a", FREE, 1)], empty, now=MICROS_PER_SECOND)
    assert not early.allowed
    assert early.retry_after_micros == 1
    assert in_time.allowed


def test_a_refusal_changes_nothing() -> None:
    decision, changed = take([Spend("a", FREE, 1)], {"a": Level(0, at=0)}, now=500_000)
    assert not decision.allowed
    assert changed == {}


def test_looking_changes_nothing() -> None:
    decision, changed = take([Spend("a", FREE, 0)], {"a": Level(3 * GRAINS_PER_TOKEN, at=0)}, now=500_000)
    assert decision.allowed
    assert decision.holdings[0].remaining == 3
    assert decision.holdings[0].full_in_micros == 6_500_000
    assert changed == {}


def test_of_several_buckets_all_pay_or_none() -> None:
    spends = [Spend("rich", BASIC, 2), Spend("poor", FREE, 2)]
    poor = {"poor": Level(GRAINS_PER_TOKEN, at=0)}
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
    decision, _ = take(spends, {"slow": Level(0, at=0), "fast": Level(0, at=0)}, now=0)
    assert decision.retry_after_micros == 3 * MICROS_PER_SECOND


def test_a_clock_that_steps_back_neither_freezes_nor_refills() -> None:
    hour = 3600 * MICROS_PER_SECOND
    refused, changed = take([Spend("a", FREE, 1)], {"a": Level(0, at=hour)}, now=0)
    assert not refused.allowed
    assert refused.retry_after_micros == MICROS_PER_SECOND
    allowed, _ = take([Spend("a", FREE, 1)], changed, now=MICROS_PER_SECOND)
    assert allowed.allowed
    assert allowed.holdings[0].remaining == 0


def test_a_smaller_tier_cuts_what_is_held() -> None:
    decision, _ = take([Spend("a", FREE, 0)], {"a": Level(BASIC.full, at=0)}, now=0)
    assert decision.holdings[0].remaining == 10
    assert decision.holdings[0].full_in_micros == 0


@given(limit_and_level=limits_with_level(), elapsed=st.integers(0, 10**13))
def test_refill_is_exact_and_stops_at_the_capacity(limit_and_level: tuple[Limit, Level], elapsed: int) -> None:
    limit, level = limit_and_level
    thousandths = round(limit.rate_per_second * 1000)
    gained = elapsed * thousandths * GRAINS_PER_TOKEN // (1000 * MICROS_PER_SECOND)
    assert refilled(limit, level, level.at + elapsed).grains == min(limit.full, level.grains + gained)


@given(limit_and_level=limits_with_level(), first=st.integers(0, 10**9), second=st.integers(0, 10**9))
def test_looking_in_between_does_not_change_the_refill(
    limit_and_level: tuple[Limit, Level], first: int, second: int
) -> None:
    limit, level = limit_and_level
    looked = refilled(limit, level, level.at + first)
    assert refilled(limit, looked, level.at + first + second) == refilled(limit, level, level.at + first + second)


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
    assert refilled(limit, level, level.at + full_in).grains == limit.full
    if full_in:
        assert refilled(limit, level, level.at + full_in - 1).grains < limit.full


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
        assert admitted * GRAINS_PER_TOKEN <= limit.full + now * limit.grains_per_micro


@pytest.mark.parametrize(
    ("rate", "capacity"),
    [(0, 10), (-1, 10), (float("nan"), 10), (1e7, 10), (0.0001, 10), (1.00001, 10), (1, 0), (1, 10**7)],
)
def test_a_limit_out_of_range_is_refused(rate: float, capacity: int) -> None:
    with pytest.raises(ValueError, match="must"):
        Limit(rate, capacity)


@pytest.mark.parametrize("cost", [-1, 11])
def test_a_cost_that_the_bucket_never_holds_is_refused(cost: int) -> None:
    with pytest.raises(ValueError, match="cannot be asked"):
        Spend("a", FREE, cost)

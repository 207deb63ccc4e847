"""What token buckets admit: the arithmetic of the overload, held against the real bucket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load.limits.admitted import Tier, is_exact
from load.limits.overload import schedule
from services.ratelimit.buckets.bucket import Level, Limit, Spend, take

FREE = Tier("free", rate=1, burst=10, clients=270, overload=2.0)
PREMIUM = Tier("premium", rate=100, burst=200, clients=3, overload=1.5)


def test_a_full_bucket_admits_its_burst_at_once() -> None:
    assert FREE.admits(0, asked=100) == 10


def test_part_of_a_token_admits_nothing() -> None:
    assert FREE.admits(0.999, asked=100) == 10
    assert FREE.admits(1.0, asked=100) == 11


def test_nobody_is_admitted_who_did_not_ask() -> None:
    assert FREE.admits(60, asked=7) == 7


def test_a_bucket_that_was_full_three_times_admits_two_bursts_more() -> None:
    assert PREMIUM.at_most(60, bursts=3) == 6600


@pytest.mark.parametrize(("admitted", "expected"), [(69, 70), (71, 70), (6138, 6200), (6262, 6200)])
def test_one_request_or_one_per_cent_is_exact(admitted: int, expected: int) -> None:
    assert is_exact(admitted, expected)


@pytest.mark.parametrize(("admitted", "expected"), [(68, 70), (72, 70), (6137, 6200), (6263, 6200)])
def test_more_is_not_exact(admitted: int, expected: int) -> None:
    assert not is_exact(admitted, expected)


@given(
    rate=st.integers(1, 20),
    burst=st.integers(2, 30),
    overload=st.sampled_from([1.25, 1.5, 2.0]),
    seconds=st.integers(1, 20),
)
def test_a_bucket_that_is_asked_too_often_admits_what_was_reckoned(
    rate: int, burst: int, overload: float, seconds: int
) -> None:
    tier = Tier("any", rate=rate, burst=burst, clients=1, overload=overload)
    times = [round(at * 1_000_000) for at, _ in schedule([tier], seconds=seconds)]
    bucket, levels = Spend("bucket", Limit(rate, burst), 1), dict[str, Level]()
    admitted = 0
    for now in times:
        decision, changed = take([bucket], levels, now)
        levels |= changed
        admitted += decision.allowed
    # A token that is due at the very end may be a microsecond away.
    assert abs(admitted - tier.admits((times[-1] - times[0]) / 1_000_000, asked=len(times))) <= 1

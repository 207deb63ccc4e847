"""A limiter's share of the buckets, for the time when the shared ones cannot be reached."""

import random

import pytest

from services.ratelimit.buckets.bucket import MICROS_PER_SECOND, Limit, Mode, Spend, take
from services.ratelimit.buckets.local_buckets import LocalBuckets

FREE = Limit(1, 12)
SECOND = MICROS_PER_SECOND


def one(bucket: str = "a", limit: Limit = FREE) -> list[Spend]:
    return [Spend(bucket, limit, 1)]


def admitted(local: LocalBuckets, wishes: int, now: int, *, sharers: int, limit: Limit = FREE) -> int:
    return sum(local.take(one(limit=limit), now, sharers=sharers).allowed for _ in range(wishes))


@pytest.mark.parametrize(("sharers", "share"), [(1, 12), (2, 6), (3, 4), (5, 2), (12, 1)])
def test_a_bucket_that_was_never_seen_begins_with_its_share_of_a_full_one(sharers: int, share: int) -> None:
    assert admitted(LocalBuckets(), 20, 0, sharers=sharers) == share


def test_tokens_come_back_at_the_share_of_the_rate() -> None:
    local = LocalBuckets()
    admitted(local, 20, 0, sharers=3)
    refused = local.take(one(), 0, sharers=3)
    assert refused.retry_after_micros == 3 * SECOND
    assert not local.take(one(), 3 * SECOND - 1, sharers=3).allowed
    assert local.take(one(), 3 * SECOND, sharers=3).allowed


def test_a_bucket_begins_with_what_the_shared_one_held_when_it_was_last_seen() -> None:
    local = LocalBuckets()
    seen, _ = take([Spend("a", FREE, 6)], {}, now=0)
    local.saw([Spend("a", FREE, 6)], seen, 0)
    assert admitted(local, 20, 0, sharers=3) == 2


def test_every_decision_says_that_it_was_made_alone_and_shows_the_own_share() -> None:
    decision = LocalBuckets().take(one(), 0, sharers=3)
    assert decision.degraded
    assert (decision.holdings[0].limit, decision.holdings[0].remaining) == (FREE, 3)


@pytest.mark.parametrize("seed", range(20))
def test_all_limiters_together_let_through_no_more_than_burst_and_rate(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a repeatable history is wanted, not a secret
    sharers, limit = chance.randint(1, 8), Limit(chance.choice([0.5, 1, 10]), chance.randint(1, 60))
    limiters = [LocalBuckets() for _ in range(sharers)]
    now = passed = 0
    while now < 60 * SECOND:
        now += int(10 ** chance.uniform(2, 6))
        passed += chance.choice(limiters).take(one(limit=limit), now, sharers=sharers).allowed
        assert passed <= limit.capacity + limit.rate_per_second * now / SECOND


def test_a_bucket_smaller_than_the_number_of_limiters_still_lets_its_rate_through() -> None:
    limit = Limit(1, 1)
    limiters = [LocalBuckets() for _ in range(4)]
    passed = sum(
        limiter.take(one(limit=limit), now, sharers=4).allowed
        for now in range(0, 100 * SECOND, SECOND // 2)
        for limiter in limiters
    )
    assert 90 <= passed <= 101


def test_the_largest_cost_of_the_largest_bucket_is_saved_up_for() -> None:
    limit = Limit(2**30, 2**32 - 4)
    local = LocalBuckets()
    all_of_it = [Spend("a", limit, limit.capacity)]
    refused = local.take(all_of_it, 0, sharers=3)
    assert not refused.allowed
    assert local.take(all_of_it, refused.retry_after_micros, sharers=3).allowed


def test_all_buckets_pay_or_none() -> None:
    local = LocalBuckets()
    poor, rich = Spend("poor", Limit(1, 3), 3), Spend("rich", FREE, 1)
    assert local.take([poor], 0, sharers=1).allowed
    assert not local.take([poor, rich], 0, sharers=1).allowed
    assert local.take([Spend("rich", FREE, 12)], 0, sharers=1).allowed


def test_what_was_taken_is_owed_once() -> None:
    local = LocalBuckets()
    admitted(local, 2, 0, sharers=3)
    local.take([Spend("b", FREE, 0)], 0, sharers=3)
    assert local.owed(0, sharers=3) == [Spend("a", FREE, 2, Mode.CHARGED)]
    assert local.owed(0, sharers=3) == []
    admitted(local, 1, 0, sharers=3)
    assert local.owed(0, sharers=3) == [Spend("a", FREE, 1, Mode.CHARGED)]


def test_what_was_taken_since_is_not_forgotten_when_the_shared_bucket_is_seen() -> None:
    local = LocalBuckets()
    admitted(local, 3, 0, sharers=3)
    full, _ = take([Spend("a", FREE, 0)], {}, now=0)
    local.saw([Spend("a", FREE, 0)], full, 0)
    assert admitted(local, 20, 0, sharers=3) == 1
    assert local.owed(0, sharers=3) == [Spend("a", FREE, 4, Mode.CHARGED)]


def test_what_was_refused_is_not_owed() -> None:
    local = LocalBuckets()
    assert admitted(local, 20, 0, sharers=12) == 1
    assert local.owed(0, sharers=12) == [Spend("a", FREE, 1, Mode.CHARGED)]


def test_what_came_back_meanwhile_is_not_owed() -> None:
    local = LocalBuckets()
    for now in range(0, 100 * SECOND, SECOND):
        assert local.take(one(), now, sharers=1).allowed
    assert local.owed(99 * SECOND, sharers=1) == [Spend("a", FREE, 1, Mode.CHARGED)]
    assert local.owed(100 * SECOND, sharers=1) == []


def test_of_buckets_that_were_lost_it_knows_what_was_missing() -> None:
    local = LocalBuckets()
    seen, _ = take([Spend("a", FREE, 6)], {}, now=0)
    local.saw([Spend("a", FREE, 6)], seen, 0)
    local.saw([Spend("full", FREE, 0)], take([Spend("full", FREE, 0)], {}, now=0)[0], 0)
    assert local.take(one(), 0, sharers=3).allowed
    assert local.lost(0) == [Spend("a", FREE, 9, Mode.MISSING)]
    assert local.owed(0, sharers=3) == []
    assert local.lost(9 * SECOND) == []


def test_a_debt_is_remembered() -> None:
    local = LocalBuckets()
    charge = Spend("a", FREE, 12, Mode.CHARGED)
    _, levels = take([charge], {}, now=0)
    in_debt, _ = take([charge], levels, now=0)
    local.saw([charge], in_debt, 0)
    assert not local.take(one(), 12 * SECOND, sharers=1).allowed
    assert local.take(one(), 13 * SECOND, sharers=1).allowed


def test_the_buckets_that_were_not_used_for_longest_are_forgotten() -> None:
    local = LocalBuckets(remembered=2)
    local.take([Spend("a", FREE, 12)], 0, sharers=1)
    local.take([Spend("b", FREE, 12)], 0, sharers=1)
    assert not local.take([Spend("a", FREE, 1)], 0, sharers=1).allowed
    local.take([Spend("c", FREE, 12)], 0, sharers=1)
    assert not local.take([Spend("a", FREE, 1)], 0, sharers=1).allowed
    assert local.take([Spend("b", FREE, 1)], 0, sharers=1).allowed

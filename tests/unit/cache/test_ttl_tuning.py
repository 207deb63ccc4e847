"""Times to live that follow the traffic."""

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cache.answers import JITTER
from services.cache.policies import DEFAULT_POLICIES, Policy, PolicyName
from services.cache.ttl_tuning import BAND, LEAST_LOOK_UPS, Direction, TtlChange, TunedTtl

TARGET = 0.70
BOUNDED = replace(DEFAULT_POLICIES[PolicyName.RESPONSE], ttl_seconds=1000, ttl_min_seconds=100, ttl_max_seconds=5000)
MANY = 10 * LEAST_LOOK_UPS


def tuned(policy: Policy = BOUNDED) -> TunedTtl:
    """One whose first window has begun at 0, with no look-ups."""
    ttl = TunedTtl(policy, target_hit_rate=TARGET)
    ttl.review(hits=0, look_ups=0, now=-policy.ttl_seconds)
    return ttl


def review(ttl: TunedTtl, hit_rate: float, *, look_ups: int = MANY, now: float = 1000.0) -> TtlChange | None:
    return ttl.review(hits=round(hit_rate * look_ups), look_ups=look_ups, now=now)


def test_too_few_hits_make_answers_live_a_quarter_longer_and_the_change_says_why() -> None:
    ttl = tuned()
    change = review(ttl, 0.5)
    assert change == TtlChange(
        policy=PolicyName.RESPONSE,
        from_seconds=1000,
        to_seconds=1250,
        hit_rate=0.5,
        look_ups=MANY,
        why="fewer than 70% of the look-ups hit",
    )
    assert change.direction is Direction.UP
    assert ttl.seconds == 1250
    assert ttl.changes == {Direction.UP: 1, Direction.DOWN: 0}


def test_more_hits_than_need_be_make_answers_live_a_tenth_shorter() -> None:
    ttl = tuned()
    change = review(ttl, 0.9)
    assert change
    assert (change.to_seconds, change.direction, change.why) == (
        900,
        Direction.DOWN,
        "more than 75% of the look-ups hit",
    )
    assert ttl.changes == {Direction.UP: 0, Direction.DOWN: 1}


@pytest.mark.parametrize("hit_rate", [TARGET, TARGET + BAND / 2, TARGET + BAND])
def test_within_the_band_nothing_changes(hit_rate: float) -> None:
    assert review(tuned(), hit_rate) is None


@pytest.mark.parametrize(("hit_rate", "bound"), [(0.0, 5000), (1.0, 100)])
def test_the_bounds_are_reached_and_kept(hit_rate: float, bound: float) -> None:
    ttl = tuned()
    look_ups = hits = 0
    now = 0.0
    for _ in range(100):
        look_ups, hits, now = look_ups + MANY, hits + round(hit_rate * MANY), now + 3 * ttl.seconds
        ttl.review(hits=hits, look_ups=look_ups, now=now)
    assert ttl.seconds == bound
    assert ttl.review(hits=hits + round(hit_rate * MANY), look_ups=look_ups + MANY, now=now * 2) is None


def test_without_bounds_nothing_is_tuned() -> None:
    ttl = tuned(DEFAULT_POLICIES[PolicyName.RESPONSE])
    assert review(ttl, 0.0) is None
    assert ttl.seconds == 3600


def test_the_start_of_a_process_is_not_measured() -> None:
    ttl = TunedTtl(BOUNDED, target_hit_rate=TARGET)
    assert ttl.review(hits=0, look_ups=MANY, now=0) is None
    assert ttl.review(hits=0, look_ups=2 * MANY, now=999) is None
    assert ttl.review(hits=MANY, look_ups=3 * MANY, now=2000), "of the last window every look-up hit"
    assert ttl.changes[Direction.DOWN] == 1


def test_a_window_with_few_look_ups_goes_on_until_there_are_enough() -> None:
    ttl = tuned()
    assert ttl.review(hits=0, look_ups=LEAST_LOOK_UPS - 1, now=1000) is None
    change = ttl.review(hits=1, look_ups=LEAST_LOOK_UPS, now=1300)
    assert change
    assert change.look_ups == LEAST_LOOK_UPS


def test_a_window_lasts_a_full_time_to_live() -> None:
    ttl = tuned()
    assert review(ttl, 0.0, now=999) is None
    assert review(ttl, 0.0, now=1000)


def test_after_a_change_nothing_is_measured_until_old_answers_are_gone() -> None:
    ttl = tuned()
    review(ttl, 0.0, now=1000)
    assert ttl.review(hits=0, look_ups=2 * MANY, now=2249) is None
    assert ttl.review(hits=MANY, look_ups=3 * MANY, now=3500), "of what came after that every look-up hit"
    assert ttl.changes == {Direction.UP: 1, Direction.DOWN: 1}


@given(rates=st.lists(st.tuples(st.floats(0, 1), st.integers(0, MANY), st.floats(0, 10_000)), max_size=60))
def test_the_bounds_hold_whatever_happens(rates: list[tuple[float, int, float]]) -> None:
    ttl = tuned()
    hits = look_ups = 0
    now = 0.0
    for hit_rate, more, seconds in rates:
        hits, look_ups, now = hits + round(hit_rate * more), look_ups + more, now + seconds
        ttl.review(hits=hits, look_ups=look_ups, now=now)
        assert 100 <= ttl.seconds <= 5000


@dataclass(frozen=True, slots=True)
class Traffic:
    """Look-ups of keys whose popularity is Zipf's, as many a second as told."""

    keys: int
    per_second: float
    seed: int

    def arrivals(self, seconds: float) -> Iterator[tuple[float, int]]:
        random = Random(self.seed)  # noqa: S311 - a trace, the same in every run
        weights = list(itertools.accumulate(1 / rank**0.9 for rank in range(1, self.keys + 1)))
        now = 0.0
        while (now := now + random.expovariate(self.per_second)) < seconds:
            yield now, random.choices(range(self.keys), cum_weights=weights)[0]


@dataclass(slots=True)
class Outcome:
    """What came of some traffic."""

    changes: list[TtlChange] = field(default_factory=list)
    last_hits: list[bool] = field(default_factory=list)
    """Of each look-up in its last quarter, whether it hit."""

    @property
    def last_hit_rate(self) -> float:
        return sum(self.last_hits) / len(self.last_hits)


def served(traffic: Traffic, ttl: TunedTtl, *, seconds: float = 1.5 * 86_400, window: float = 300) -> Outcome:
    """Runs the traffic against a cache in which nothing is evicted, and reviews after each window."""
    fresh_until: dict[int, float] = {}
    jitter = Random(traffic.seed)  # noqa: S311 - a trace, the same in every run
    hits = look_ups = 0
    outcome = Outcome()
    reviews = ((end, -1) for end in itertools.count(window, window))
    for now, key in heapq.merge(traffic.arrivals(seconds), itertools.takewhile(lambda at: at[0] < seconds, reviews)):
        if key < 0:
            outcome.changes += filter(None, [ttl.review(hits=hits, look_ups=look_ups, now=now)])
            continue
        is_hit = now < fresh_until.get(key, 0)
        look_ups, hits = look_ups + 1, hits + is_hit
        if not is_hit:
            fresh_until[key] = now + ttl.seconds * (1 - jitter.uniform(0, JITTER))
        if now >= 0.75 * seconds:
            outcome.last_hits.append(is_hit)
    return outcome


@pytest.mark.parametrize("first_seconds", [120, 4800])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_hit_rate_ends_near_the_target_from_either_side_without_swinging(first_seconds: float, seed: int) -> None:
    ttl = tuned(replace(BOUNDED, ttl_seconds=first_seconds))
    outcome = served(Traffic(keys=1000, per_second=2, seed=seed), ttl)
    assert outcome.changes
    turns = sum(one.direction is not other.direction for one, other in itertools.pairwise(outcome.changes))
    assert turns <= 1, [change.to_seconds for change in outcome.changes]
    assert TARGET - BAND / 2 <= outcome.last_hit_rate <= TARGET + BAND
    assert 100 < ttl.seconds < 5000, "the target lies between the bounds for this traffic"


def test_traffic_that_cannot_reach_the_target_stays_at_the_bound() -> None:
    ttl = tuned(replace(BOUNDED, ttl_max_seconds=2000))
    outcome = served(Traffic(keys=100_000, per_second=1, seed=1), ttl)
    assert ttl.seconds == 2000
    assert {change.direction for change in outcome.changes} == {Direction.UP}
    assert outcome.last_hit_rate < TARGET

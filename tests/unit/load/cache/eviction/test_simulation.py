"""The simulated cache."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load.cache.eviction.lru import Lru
from load.cache.eviction.policies import POLICIES
from load.cache.eviction.simulation import SimulatedCache, hit_rate
from load.cache.eviction.traces import TRACES, requests


class Liar(Lru):
    """Names a victim that is not held."""

    def victims(self, now: float) -> Sequence[str]:  # type: ignore[override]
        return ["somebody else"]


class Miser(Lru):
    """Lets nobody go."""

    def victims(self, now: float) -> list[str]:
        return []


def timed(keys: str) -> list[tuple[float, str]]:
    return [(float(now), key) for now, key in enumerate(keys)]


def test_hits_are_counted_after_the_warm_up() -> None:
    assert hit_rate(Lru(), timed("abab"), capacity=2, warm_up=0) == 0.5
    assert hit_rate(Lru(), timed("abab"), capacity=2, warm_up=2) == 1.0


def test_a_cache_that_is_full_lets_go() -> None:
    assert hit_rate(Lru(), timed("abcabc"), capacity=2, warm_up=0) == 0.0
    assert hit_rate(Lru(), timed("aabbcca"), capacity=2, warm_up=0) == 3 / 7


@pytest.mark.parametrize("eviction", [Liar(), Miser()])
def test_an_eviction_that_makes_no_room_is_found_out(eviction: Lru) -> None:
    cache = SimulatedCache(eviction, capacity=1)
    cache.ask("first", 0.0)
    with pytest.raises(KeyError):
        cache.ask("second", 1.0)


@pytest.mark.parametrize("policy", POLICIES)
@given(keys=st.text("abcdefgh"), capacity=st.integers(1, 8))
def test_no_policy_hits_more_often_than_an_endless_cache(policy: str, keys: str, capacity: int) -> None:
    cache = SimulatedCache(POLICIES[policy](capacity), capacity=capacity)
    hits = sum(cache.ask(key, now) for now, key in timed(keys))
    assert hits <= len(keys) - len(set(keys))
    assert len(set(keys)) > capacity or hits == len(keys) - len(set(keys))


def rate(policy: str, trace: str) -> float:
    asked = requests(TRACES[trace], seed=1, capacity=100, count=20_000)
    return hit_rate(POLICIES[policy](100), asked, capacity=100, warm_up=4000)


@pytest.mark.parametrize("trace", [trace for trace in TRACES if "loop" not in trace])
def test_who_counts_uses_beats_who_does_not(trace: str) -> None:
    assert rate("LRU", trace) < rate("recency x frequency", trace) < rate("S3-FIFO", trace)


def test_a_loop_defeats_who_goes_by_recency() -> None:
    trace = "a loop 1.5 times the cache"
    assert rate("LRU", trace) == rate("recency x frequency", trace) == 0.0
    assert rate("S3-FIFO", trace) > 0.3
    assert rate("W-TinyLFU", trace) > 0.5

"""What holds for every policy of eviction, those that the cache offers among them."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load.cache.eviction.policies import POLICIES
from services.cache.eviction.eviction import Eviction

CAPACITY = 12
STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "ask", "ask", "replace", "expire", "evict"]), st.integers(0, 30)), max_size=300
)


@pytest.fixture(params=POLICIES)
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def evict(eviction: Eviction, held: set[str], now: float) -> None:
    """Checks what a policy promises."""
    victims = list(eviction.victims(now))
    assert bool(victims) == bool(held)
    assert len(victims) == len(set(victims))
    assert set(victims) <= held
    held -= set(victims)


@given(steps=STEPS)
@pytest.mark.parametrize("policy", POLICIES)
def test_victims_are_held_and_there_is_one_as_long_as_anything_is(policy: str, steps: list[tuple[str, int]]) -> None:
    eviction = POLICIES[policy](CAPACITY)
    held: set[str] = set()
    for now, (action, number) in enumerate(steps):
        key = f"key {number}"
        if action == "evict":
            evict(eviction, held, now)
        elif key not in held:
            while len(held) >= CAPACITY:
                evict(eviction, held, now)
            eviction.stored(key, now)
            held.add(key)
        elif action == "ask":
            eviction.used(key, now)
        elif action == "replace":
            eviction.stored(key, now)
        else:
            eviction.removed(key)
            held.remove(key)
    for _ in range(len(held) + 1):
        evict(eviction, held, len(steps))
    assert not held


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Gives what tells the bytes that were allocated inside and are still in use."""
    gc.collect()
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def bytes_per_key(policy: str, entries: int, *, turnovers: int = 3) -> float:
    """After everything was replaced so often: once it was, a policy remembers as much as it ever does."""
    keys = [f"acme/response/{number:064x}" for number in range(turnovers * entries)]
    with traced() as bytes_in_use:
        eviction, free = POLICIES[policy](entries), entries
        for now, key in enumerate(keys):
            if not free:
                free += len(eviction.victims(float(now)))
            eviction.stored(key, float(now))
            free -= 1
        return bytes_in_use() / entries


def test_a_key_takes_about_the_memory_that_the_policy_says(policy: str) -> None:
    taken = [bytes_per_key(policy, entries) for entries in (1000, 1400, 2000, 2800)]
    declared = POLICIES[policy](1000).KEY_BYTES
    assert 0.7 * declared <= sum(taken) / len(taken) <= 1.3 * declared


def test_a_policy_remembers_no_more_after_a_long_time(policy: str) -> None:
    assert bytes_per_key(policy, 500, turnovers=100) <= 1.5 * bytes_per_key(policy, 500, turnovers=3)


def test_what_expires_leaves_nothing_behind(policy: str) -> None:
    with traced() as bytes_in_use:
        eviction = POLICIES[policy](500)
        empty = bytes_in_use()
        for number in range(20_000):
            eviction.stored(f"key {number}", float(number))
            eviction.removed(f"key {number}")
        assert bytes_in_use() - empty < 5000
    assert not eviction.victims(20_000.0)

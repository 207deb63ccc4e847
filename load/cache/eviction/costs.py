"""What a policy of eviction costs: the time of a use, of a store into a full cache, and of one eviction."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from services.cache.eviction.eviction import Eviction

SECONDS_PER_STEP = 0.1
"""By how much the simulated clock advances."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds on average, with the loop around the calls."""

    use: float
    store: float
    """With its share of evictions."""
    eviction: float
    """One call of `victims`."""


def costs(eviction: Eviction, *, entries: int, seed: int) -> Costs:
    """Fills the policy with so many keys, uses them twice each in random order, and stores as many other keys."""
    rng = random.Random(seed)
    held, fresh = (_keys(rng, entries) for _ in range(2))
    for position, key in enumerate(held):
        eviction.stored(key, position * SECONDS_PER_STEP)
    began = entries * SECONDS_PER_STEP
    use = _seconds_a_use(eviction, rng.choices(held, k=2 * entries), began)
    store, seconds_an_eviction = _seconds_a_store(eviction, fresh, 3 * began)
    return Costs(use=use, store=store, eviction=seconds_an_eviction)


def _keys(rng: random.Random, count: int) -> list[str]:
    return [f"tenant/response/{rng.getrandbits(256):064x}" for _ in range(count)]


def _seconds_a_use(eviction: Eviction, keys: Sequence[str], now: float) -> float:
    start = time.perf_counter()
    for key in keys:
        now += SECONDS_PER_STEP
        eviction.used(key, now)
    return (time.perf_counter() - start) / len(keys)


def _seconds_a_store(eviction: Eviction, keys: Sequence[str], now: float) -> tuple[float, float]:
    """Of a store, and of an eviction."""
    free = evictions = 0
    evicting = 0.0
    start = time.perf_counter()
    for key in keys:
        now += SECONDS_PER_STEP
        if not free:
            evictions += 1
            evict_start = time.perf_counter()
            free += len(eviction.victims(now))
            evicting += time.perf_counter() - evict_start
        eviction.stored(key, now)
        free -= 1
    return (time.perf_counter() - start) / len(keys), evicting / evictions

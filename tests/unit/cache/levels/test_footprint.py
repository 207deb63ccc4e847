"""What an entry is said to take of memory, beside what Python allocates."""

import gc
import tracemalloc
from collections.abc import Callable

import pytest

from services.cache.entry import Entry, Worth
from services.cache.events import Events
from services.cache.eviction.recency_frequency import RecencyFrequency
from services.cache.levels.memory_level import MemoryLevel
from services.cache.policies import DEFAULT_POLICIES, PolicyName

NOW = 1_700_000_000.0
POLICY = DEFAULT_POLICIES[PolicyName.RESPONSE]


def entry_with(events: Events, tags: tuple[str, ...], number: int) -> Entry:
    """With numbers of its own, as real entries have."""
    worth = Worth(input_tokens=1000 + number, output_tokens=2000 + number, cost_usd=number / 7)
    generation = 2**50 + number
    return Entry(
        events=events, created=NOW + number, ttl_seconds=3600.5 + number, generation=generation, tags=tags, worth=worth
    )


def one_event(number: int) -> Events:
    return Events.of([number.to_bytes(2048)])


def small_events(number: int) -> Events:
    """Of 14 to 54 bytes."""
    return Events.of([number.to_bytes(14 + 7 * place % 41) for place in range(60)])


def no_events(number: int) -> Events:
    return Events.of([])


@pytest.mark.parametrize(
    ("events", "tags", "tolerance"),
    # What Python asks for is less than what it takes, the more so the smaller the objects are.
    [(one_event, 0, 0.1), (small_events, 0, 0.1), (one_event, 16, 0.1), (no_events, 0, 0.35)],
)
async def test_the_bytes_counted_are_about_those_that_python_allocates(
    events: Callable[[int], Events], tags: int, tolerance: float
) -> None:
    gc.collect()
    tracemalloc.start()
    try:
        level = MemoryLevel(max_entries=10_000, max_bytes=10**9, eviction=RecencyFrequency())
        before, _ = tracemalloc.get_traced_memory()
        for number in range(1000):
            own_tags = tuple([f"tag {tag} of {number}" for tag in range(tags)])
            await level.put(f"acme/response/{number:064x}", entry_with(events(number), own_tags, number), POLICY, NOW)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert abs(level.holdings().size_bytes / (after - before) - 1) < tolerance

"""By how much a process grows whose memory level is full."""

import asyncio
import itertools
import multiprocessing
import os
import random
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType

from load.measuring.memory import pss_bytes
from services.cache.entry import Entry, Worth
from services.cache.events import Events
from services.cache.eviction.choice import EvictionName, eviction_named
from services.cache.levels.memory_level import MemoryLevel
from services.cache.policies import DEFAULT_POLICIES, PolicyName

ENTRY_BYTES = 2048
MAX_BYTES = 100_000 * ENTRY_BYTES
HANDED_IN = 100_000
"""Entries: more than fit, as each takes more than its bytes."""
ENTRIES_PER_LOOK = 1000
"""The process's memory is looked at after so many entries."""
SMALL_EVENTS = 60
SMALL_BYTES = range(14, 55)
"""The sizes of small events."""
USED_SHARE = 0.3
START = 1_700_000_000.0
"""Unix time at which it begins; simulated."""
SECONDS_PER_ENTRY = 0.001

Shape = Callable[[random.Random], Events]
"""Makes the events of an entry of about ENTRY_BYTES."""


def one_event(rng: random.Random) -> Events:
    return Events.of([rng.randbytes(ENTRY_BYTES)])


def small_events(rng: random.Random) -> Events:
    ends = list(itertools.accumulate(rng.choices(SMALL_BYTES, k=SMALL_EVENTS), initial=0))
    data = rng.randbytes(ends[-1])
    return Events.of([data[begin:end] for begin, end in itertools.pairwise(ends)])


SHAPES: Mapping[str, Shape] = MappingProxyType({"one event": one_event, "60 small events": small_events})


@dataclass(frozen=True, slots=True)
class Growth:
    """By how much a process has grown while its level was full, as a share of the bytes that the level may take."""

    lowest: float
    highest: float


def growth_of_a_new_process(shape: str, eviction: EvictionName) -> Growth:
    """Hands entries of that shape to a level, in a process that has done nothing else."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as processes:
        return processes.submit(_growth, shape, eviction).result()


def _growth(shape: str, eviction: EvictionName) -> Growth:
    """Of this process. Raises ValueError if the entries do not fill the level."""
    rng = random.Random(1)  # noqa: S311 - no secret
    level = MemoryLevel(max_entries=HANDED_IN, max_bytes=MAX_BYTES, eviction=eviction_named(eviction))
    policy = DEFAULT_POLICIES[PolicyName.RESPONSE]
    before = pss_bytes(os.getpid())

    async def hand_in(number: int) -> None:
        now = START + number * SECONDS_PER_ENTRY
        key = f"acme-incorporated/response/{rng.getrandbits(256):064x}"
        await level.put(key, _entry(SHAPES[shape](rng), rng, now), policy, now)
        if rng.random() < USED_SHARE:
            await level.get(key, now)

    async def shares() -> list[float]:
        seen = []
        for number in range(HANDED_IN):
            await hand_in(number)
            if number % ENTRIES_PER_LOOK == 0 and level.holdings().evictions:
                seen.append((pss_bytes(os.getpid()) - before) / MAX_BYTES)
        return seen

    seen = asyncio.run(shares())
    return Growth(lowest=min(seen), highest=max(seen))


def _entry(events: Events, rng: random.Random, now: float) -> Entry:
    """With numbers of its own, as real entries have."""
    worth = Worth(input_tokens=rng.randrange(10_000), output_tokens=rng.randrange(10_000), cost_usd=rng.random())
    ttl_seconds = 3600 * (1 - rng.uniform(0, 0.1))
    generation = rng.getrandbits(50)
    return Entry(events=events, created=now, ttl_seconds=ttl_seconds, generation=generation, worth=worth)

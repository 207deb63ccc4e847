"""Measures whether the memory level keeps to the bytes it is told, by what its process really takes.

Usage: python -m load.cache.memory
"""

import asyncio
import itertools
import multiprocessing
import random
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from load.measuring.report import Table, provenance
from services.cache.entry import Entry, Worth
from services.cache.eviction.choice import EvictionName, eviction_named
from services.cache.levels.memory_level import MemoryLevel
from services.cache.policies import DEFAULT_POLICIES, PolicyName

ENTRY_BYTES = 2048
MAX_BYTES = 100_000 * ENTRY_BYTES
HANDED_IN = 300_000
ENTRIES_PER_LOOK = 1000
"""The process's memory is looked at after so many entries."""
SMALL_EVENTS = 60
SMALL_BYTES = range(14, 55)
"""The sizes of small events."""
USED_SHARE = 0.3
START = 1_700_000_000.0
"""Unix time at which it begins; simulated."""
SECONDS_PER_ENTRY = 0.001

Shape = Callable[[random.Random], tuple[bytes, ...]]
"""Makes the events of an entry of about ENTRY_BYTES."""


def one_event(rng: random.Random) -> tuple[bytes, ...]:
    return (rng.randbytes(ENTRY_BYTES),)


def small_events(rng: random.Random) -> tuple[bytes, ...]:
    ends = list(itertools.accumulate(rng.choices(SMALL_BYTES, k=SMALL_EVENTS), initial=0))
    data = rng.randbytes(ends[-1])
    return tuple([data[begin:end] for begin, end in itertools.pairwise(ends)])


SHAPES: Mapping[str, Shape] = MappingProxyType({"one event": one_event, "60 small events": small_events})
"""By the names that the table shows."""


@dataclass(frozen=True, slots=True)
class Growth:
    """By how much a process has grown while its level was full, as a share of the bytes that the level may take."""

    lowest: float
    highest: float
    entries: int
    """Held at the end."""


def growth(shape: str, eviction: EvictionName, handed_in: int) -> Growth:
    """Hands so many entries to a level and measures this process. Raises ValueError if they do not fill the level."""
    rng = random.Random(1)
    level = MemoryLevel(max_entries=handed_in, max_bytes=MAX_BYTES, eviction=eviction_named(eviction))
    policy = DEFAULT_POLICIES[PolicyName.RESPONSE]
    before = _pss_bytes()

    async def hand_in(number: int) -> None:
        now = START + number * SECONDS_PER_ENTRY
        key = f"acme-incorporated/response/{rng.getrandbits(256):064x}"
        await level.put(key, _entry(SHAPES[shape](rng), rng, now), policy, now)
        if rng.random() < USED_SHARE:
            await level.get(key, now)

    async def shares() -> list[float]:
        seen = []
        for number in range(handed_in):
            await hand_in(number)
            if number % ENTRIES_PER_LOOK == 0 and level.holdings().evictions:
                seen.append((_pss_bytes() - before) / MAX_BYTES)
        return seen

    seen = asyncio.run(shares())
    if not seen:
        raise ValueError(f"{handed_in} entries do not fill the level")
    return Growth(lowest=min(seen), highest=max(seen), entries=level.holdings().entries)


def growth_of_a_new_process(shape: str, eviction: EvictionName, handed_in: int) -> Growth:
    """The same in a process that has done nothing else."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as processes:
        return processes.submit(growth, shape, eviction, handed_in).result()


def _entry(events: tuple[bytes, ...], rng: random.Random, now: float) -> Entry:
    """With numbers of its own, as real entries have."""
    worth = Worth(input_tokens=rng.randrange(10_000), output_tokens=rng.randrange(10_000), cost_usd=rng.random())
    ttl_seconds = 3600 * (1 - rng.uniform(0, 0.1))
    generation = rng.getrandbits(50)
    return Entry(events=events, created=now, ttl_seconds=ttl_seconds, generation=generation, worth=worth)


def _pss_bytes() -> int:
    """What this process takes of real memory, with its share of what it has in common with others."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def table() -> Table:
    result = Table(
        f"Growth of a process whose memory level may take {MAX_BYTES / 1e6:.0f} MB, as a share of that",
        ("entries of 2 KB with", "eviction", "lowest", "highest", "entries held"),
        note=f"Proportional set size, from when the level was full until {HANDED_IN:,} entries were handed in.",
    )
    for shape in SHAPES:
        for eviction in EvictionName:
            measured = growth_of_a_new_process(shape, eviction, HANDED_IN)
            result.rows.append((shape, eviction, measured.lowest, measured.highest, measured.entries))
    return result


if __name__ == "__main__":
    print(f"{provenance()}\n\n{table().markdown()}")

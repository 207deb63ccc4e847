"""What the answers in L1 take of the memory of a cache process, against what it says and what it was told."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from load.cache.answers import ANSWER_BYTES, SHAPES, answer, key
from load.cache.cache_process import running_cache
from load.cache.caller import Caller
from load.measuring.home import Home
from load.measuring.memory import pss_bytes
from load.measuring.progress import say
from load.measuring.report import Cell, Table
from load.measuring.servers import Valkey

BOUNDS = (100_000_000, 1_000_000_000)
"""Bytes that L1 may take: too few for all answers, and more than enough."""
PUBLISHERS = 16
LOOKS = 50
_WARM_UP = 1000
"""So often one answer is replaced before memory is looked at: a process that has done nothing yet takes less."""
_SMALL_L2 = ("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lfu")


@dataclass(frozen=True, slots=True)
class _Growth:
    """What a process holds in L1, and by how much it has grown, in the end and at most."""

    entries: int
    held_bytes: int
    is_full: bool
    grown_bytes: int
    most_bytes: int


async def of_entries(count: int) -> Table:
    """Publishes so many answers to a new cache process, for each bound and shape. Raises MeasurementError if one was
    not stored."""
    table = Table(
        f"The memory that {count} answers of {ANSWER_BYTES} bytes take in L1",
        ("an answer has", "SHOAL_L1_MAX_BYTES, MB", "answers held", "held, says the cache, MB", "grown by, MB",
         "of what it holds", "grown by at most, MB", "of what it may hold"),
        note="Published over gRPC. Grown: the proportional set size (PSS) of the process, since it had been warmed up, "
        f"in the end and at most, looked at {LOOKS} times.",
    )  # fmt: skip
    for bound in BOUNDS:
        for shape, events in SHAPES.items():
            say(f"memory: {count} answers with {shape}, {bound // 1_000_000} MB")
            growth = await _growth(events, count, bound)
            table.rows.append((shape, bound // 1_000_000, *_columns(growth, bound)))
    return table


def _columns(growth: _Growth, bound: int) -> tuple[Cell, ...]:
    """What it may hold says something of a cache that is full only."""
    held, grown, most = (size / 1e6 for size in (growth.held_bytes, growth.grown_bytes, growth.most_bytes))
    return growth.entries, held, grown, grown / held, most, most * 1e6 / bound if growth.is_full else "not full"


async def _growth(events: int, count: int, bound: int) -> _Growth:
    settings = {"SHOAL_L1_MAX_ENTRIES": "1000000", "SHOAL_L1_MAX_BYTES": str(bound)}
    async with (
        Home.made() as home,
        Valkey(home, "valkey-state").running() as state_url,
        Valkey(home, "valkey-cache", _SMALL_L2).running() as cache_url,
        running_cache(home, "cache-1", state_url=state_url, cache_url=cache_url, settings=settings) as cache,
    ):
        await _publish(cache.caller, events, [0] * _WARM_UP)
        before = pss_bytes(cache.pid)
        seen = []
        for look in range(LOOKS):
            await _publish(cache.caller, events, range(1 + count * look // LOOKS, 1 + count * (look + 1) // LOOKS))
            seen.append(pss_bytes(cache.pid) - before)
        level = await cache.caller.level("l1")
        return _Growth(level.entries, level.size_bytes, level.evictions > 0, seen[-1], max(seen))


async def _publish(caller: Caller, events: int, numbers: Iterable[int]) -> None:
    """An answer under the key of each of the numbers."""
    generation, pieces, left = await caller.lead(), answer(events), iter(numbers)

    async def publisher() -> None:
        for number in left:
            await caller.publish(key(number), pieces, generation)

    async with asyncio.TaskGroup() as group:
        for _ in range(PUBLISHERS):
            group.create_task(publisher())

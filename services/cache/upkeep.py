"""What a cache process does beside its calls: tunes times to live and clears expired rows away."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn, Protocol

import structlog

from services.cache.counts import Counts
from services.cache.levels.level import LevelUnavailableError
from services.cache.policies import PolicyName
from services.cache.ttl_tuning import TtlChange, TunedTtl

PURGE_SECONDS = 60.0

log = structlog.get_logger()


class Purgeable(Protocol):
    """A level that keeps expired entries until it is told to let them go."""

    async def purge(self, now: float) -> int:
        """Forgets what has expired at Unix time `now`; how many entries. Raises LevelUnavailableError."""


async def purge_regularly(
    level: Purgeable, *, clock: Callable[[], float], pause: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> NoReturn:
    """Until it is cancelled. A level that fails has said so itself; it is tried again the next time."""
    while True:
        try:
            await level.purge(clock())
        except LevelUnavailableError:
            log.debug("expired entries stay until the database can be used again")
        await pause(PURGE_SECONDS)


async def tune_regularly(
    ttls: Mapping[PolicyName, TunedTtl],
    counts: Counts,
    *,
    window_seconds: float,
    clock: Callable[[], float],
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> NoReturn:
    """Until it is cancelled. `clock` is a steady clock in seconds."""
    while True:
        await pause(window_seconds)
        for name, ttl in ttls.items():
            used = counts[name]
            change = ttl.review(hits=used.hits, look_ups=used.look_ups, now=clock())
            if change:
                _tell(change)


def _tell(change: TtlChange) -> None:
    log.info(
        "time to live tuned",
        policy=change.policy,
        from_seconds=round(change.from_seconds, 1),
        to_seconds=round(change.to_seconds, 1),
        hit_rate=round(change.hit_rate, 3),
        look_ups=change.look_ups,
        why=change.why,
    )

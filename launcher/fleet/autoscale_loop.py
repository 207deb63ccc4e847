"""Keeps the size of the agents' pool by the rule, as long as the mesh runs."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from launcher.control.fleet import FleetError
from launcher.fleet.autoscaling import SERVICE, Autoscaler, Bounds

SAMPLE_SECONDS = 5.0


class Scalable(Protocol):
    """What changes the pool."""

    async def scale(self, service: str, replicas: int, say: Callable[[str], None]) -> None:
        """Raises FleetError."""


class Watched(Protocol):
    """What sees how busy it is."""

    async def utilisation(self, service: str) -> float | None:
        """Turns that run or wait, over the slots of the replicas that serve; None if nobody tells."""

    def replicas(self, service: str) -> int:
        """How many there are, those that leave not counted."""


async def autoscale(
    bounds: Bounds,
    *,
    fleet: Scalable,
    view: Watched,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Goes on until it is cancelled. What the fleet refuses is said once, and asked for again while it is wanted."""
    rule = Autoscaler(bounds)
    changes = _Changes(fleet, say)
    async with asyncio.TaskGroup() as group:
        while True:
            if (utilisation := await view.utilisation(SERVICE)) is not None:
                replicas = view.replicas(SERVICE)
                wanted = rule.observe(utilisation, replicas, clock())
                if wanted != replicas:
                    # Not awaited: replicas that leave may take as long as a stream may, and load does not wait.
                    group.create_task(changes.make(wanted, replicas, utilisation))
            await sleep(SAMPLE_SECONDS)


class _Changes:
    """The changes that were asked for: none twice at the same time."""

    def __init__(self, fleet: Scalable, say: Callable[[str], None]) -> None:
        self._fleet = fleet
        self._say = say
        self._going_on: set[int] = set()
        self._refused: int | None = None

    async def make(self, wanted: int, replicas: int, utilisation: float) -> None:
        if wanted in self._going_on:
            return
        is_news = wanted != self._refused
        if is_news:
            self._say(f"{SERVICE}: {utilisation:.0%} busy; scaling from {replicas} to {wanted}")
        self._going_on.add(wanted)
        try:
            await self._fleet.scale(SERVICE, wanted, self._say)
            self._refused = None
        except (FleetError, OSError) as error:
            self._refused = wanted
            if is_news:
                self._say(f"{SERVICE}: not scaled to {wanted}: {error}")
        finally:
            self._going_on.discard(wanted)

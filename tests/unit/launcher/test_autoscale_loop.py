"""The loop that keeps the pool's size by the rule, with a clock of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from launcher.control.fleet import FleetError
from launcher.fleet.autoscale_loop import SAMPLE_SECONDS, autoscale
from launcher.fleet.autoscaling import SERVICE, Bounds


class Fleet:
    """A pool whose size changes at once, and whose changes end when they are told to."""

    def __init__(self, replicas: int, utilisation: float | None) -> None:
        self.busy = utilisation
        self.refusal = ""
        self.scaled: list[int] = []
        self.asked = 0
        self.may_end = asyncio.Event()
        self.may_end.set()
        self._replicas = replicas

    async def utilisation(self, service: str) -> float | None:
        assert service == SERVICE
        return self.busy

    def replicas(self, service: str) -> int:
        assert service == SERVICE
        return self._replicas

    async def scale(self, service: str, replicas: int, say: Callable[[str], None]) -> None:
        assert service == SERVICE
        self.asked += 1
        if self.refusal:
            raise FleetError(self.refusal)
        self.scaled.append(replicas)
        say(f"{service}: becoming {replicas}")
        self._replicas = replicas
        await self.may_end.wait()


class Run:
    """The loop at work. Time passes when it is told to."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.said: list[str] = []
        self._now = 0.0
        self._looked = asyncio.Event()
        self._go_on = asyncio.Event()

    async def loop(self) -> None:
        await autoscale(
            Bounds(2, 8),
            fleet=self.fleet,
            view=self.fleet,
            say=self.said.append,
            clock=lambda: self._now,
            sleep=self._sleep,
        )

    async def passes(self, seconds: float) -> None:
        for _ in range(round(seconds / SAMPLE_SECONDS)):
            await self._looked.wait()
            self._looked.clear()
            self._go_on.set()
        await self._looked.wait()

    async def _sleep(self, seconds: float) -> None:
        self._looked.set()
        await self._go_on.wait()
        self._go_on.clear()
        self._now += seconds


@asynccontextmanager
async def looping(fleet: Fleet) -> AsyncIterator[Run]:
    run = Run(fleet)
    task = asyncio.create_task(run.loop())
    try:
        yield run
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_busy_pool_is_scaled_up_and_says_so() -> None:
    async with looping(Fleet(3, 0.9)) as run:
        await run.passes(70)
    assert run.fleet.scaled == [5]
    assert run.said == ["agent: 90% busy; scaling from 3 to 5", "agent: becoming 5"]


async def test_a_pool_outside_of_the_bounds_is_scaled_at_once() -> None:
    async with looping(Fleet(1, 0.5)) as run:
        await run.passes(10)
    assert run.fleet.scaled == [2]


async def test_a_pool_that_tells_nothing_is_left_alone() -> None:
    async with looping(Fleet(1, None)) as run:
        await run.passes(600)
    assert run.fleet.scaled == []


async def test_a_refusal_is_said_once_and_the_loop_goes_on_until_it_is_done() -> None:
    fleet = Fleet(3, 0.9)
    fleet.refusal = "There is no free port."
    async with looping(fleet) as run:
        await run.passes(120)
        assert fleet.asked > 5
        assert run.said[1:] == ["agent: not scaled to 5: There is no free port."]
        fleet.refusal = ""
        await run.passes(10)
    assert fleet.scaled == [5]


async def test_load_does_not_wait_for_replicas_that_still_finish_their_streams() -> None:
    fleet = Fleet(4, 0.1)
    fleet.may_end.clear()
    async with looping(fleet) as run:
        await run.passes(70)
        assert fleet.scaled == [3]
        fleet.busy = 1.2
        await run.passes(400)
    assert fleet.scaled == [3, 5]


async def test_a_change_that_goes_on_is_not_asked_for_again() -> None:
    class SlowFleet(Fleet):
        """Its size changes late."""

        async def scale(self, service: str, replicas: int, say: Callable[[str], None]) -> None:
            self.scaled.append(replicas)
            await self.may_end.wait()

    fleet = SlowFleet(3, 0.9)
    fleet.may_end.clear()
    async with looping(fleet) as run:
        await run.passes(120)
    assert fleet.scaled == [5]

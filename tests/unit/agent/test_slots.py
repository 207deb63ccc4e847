"""Slots: no more turns than there are, a short line in order, and nothing lost however turns come and leave."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshkit.errors import Reason, ShoalError
from services.agent.slots import LONGEST_RETRY_SECONDS, SHORTEST_RETRY_SECONDS, Slots

FOREVER = 3600.0
TIMEOUT_SECONDS = 2.0


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def slots_of(slots: int, *, queue: int, clock: Clock | None = None, longest_wait_seconds: float = FOREVER) -> Slots:
    return Slots(slots, queue=queue, longest_wait_seconds=longest_wait_seconds, clock=clock or Clock())


async def refused(slots: Slots) -> ShoalError:
    with pytest.raises(ShoalError) as raised:
        async with slots.taken():
            raise AssertionError("a slot was given")
    assert raised.value.reason is Reason.REPLICA_BUSY
    return raised.value


async def hold(slots: Slots, clock: Clock, *, seconds: float) -> None:
    async with slots.taken():
        clock.now += seconds


async def hint(slots: Slots) -> float:
    """What whoever finds all of them taken, and no queue, is told."""
    async with AsyncExitStack() as held:
        for _ in range(slots.slots):
            await held.enter_async_context(slots.taken())
        seconds = (await refused(slots)).retry_after_seconds
    assert seconds is not None
    return seconds


@dataclass(eq=False)
class Turn:
    """Takes a slot until it is told to leave."""

    number: int
    begun: list[int]
    """The numbers of all turns that got a slot, in order."""
    inside: set[int]
    leaves: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, slots: Slots) -> None:
        async with slots.taken():
            self.begun.append(self.number)
            self.inside.add(self.number)
            try:
                await self.leaves.wait()
            finally:
                self.inside.discard(self.number)


class Crowd:
    """Turns that come, end and are given up."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.begun: list[int] = []
        self.inside: set[int] = set()
        self.turns: list[tuple[Turn, asyncio.Task[None]]] = []

    def comes(self) -> None:
        turn = Turn(len(self.turns), self.begun, self.inside)
        self.turns.append((turn, asyncio.create_task(turn.run(self.slots))))

    def leaves(self, number: int) -> None:
        if self.turns:
            self.turns[number % len(self.turns)][0].leaves.set()

    def is_cancelled(self, number: int) -> None:
        if self.turns:
            self.turns[number % len(self.turns)][1].cancel()

    async def settles(self) -> None:
        """Every task has gone as far as it can."""
        for _ in range(10):
            await asyncio.sleep(0)

    async def outcomes(self) -> list[BaseException | None]:
        return await asyncio.gather(*(task for _, task in self.turns), return_exceptions=True)


steps = st.lists(
    st.tuples(st.sampled_from(["comes", "comes", "leaves", "is_cancelled", "settles"]), st.integers(0, 30)), max_size=60
)


@given(steps=steps, size=st.integers(1, 3), queue=st.integers(0, 3))
def test_no_slot_is_lost_or_given_twice_however_turns_come_and_leave(
    steps: list[tuple[str, int]], size: int, queue: int
) -> None:
    asyncio.run(live_through(steps, size, queue))


async def live_through(steps: list[tuple[str, int]], size: int, queue: int) -> None:
    slots = slots_of(size, queue=queue)
    crowd = Crowd(slots)
    for step, number in steps:
        match step:
            case "comes":
                crowd.comes()
            case "leaves":
                crowd.leaves(number)
            case "is_cancelled":
                crowd.is_cancelled(number)
            case "settles":
                await crowd.settles()
        assert len(crowd.inside) <= size
        assert slots.waiting <= queue
    await crowd.settles()
    assert slots.running == len(crowd.inside)
    assert slots.running == size or slots.waiting == 0, "somebody waits beside a free slot"
    assert crowd.begun == sorted(crowd.begun), "somebody went past those who waited"
    for number in range(len(crowd.turns)):
        crowd.leaves(number)
    for outcome in await crowd.outcomes():
        assert outcome is None or isinstance(outcome, asyncio.CancelledError | ShoalError)
    assert (slots.running, slots.waiting) == (0, 0)
    async with asyncio.timeout(TIMEOUT_SECONDS), AsyncExitStack() as held:
        for _ in range(size):
            await held.enter_async_context(slots.taken())


async def test_as_many_wait_as_the_queue_holds_and_more_are_refused_at_once() -> None:
    slots = slots_of(2, queue=1)
    crowd = Crowd(slots)
    for _ in range(3):
        crowd.comes()
    await crowd.settles()
    assert (slots.running, slots.waiting) == (2, 1)
    await refused(slots)
    crowd.leaves(0)
    await crowd.settles()
    assert crowd.inside == {1, 2}
    for number in (1, 2):
        crowd.leaves(number)
    await crowd.outcomes()


async def test_a_slot_handed_to_whoever_leaves_at_that_moment_goes_to_the_next() -> None:
    slots = slots_of(1, queue=2)
    crowd = Crowd(slots)
    for _ in range(3):
        crowd.comes()
    await crowd.settles()
    first, second, third = (task for _, task in crowd.turns)
    first.add_done_callback(lambda _: second.cancel())  # When it has been handed the slot and has not begun.
    crowd.leaves(0)
    await crowd.settles()
    assert second.cancelled()
    assert crowd.inside == {2}
    crowd.leaves(2)
    await third


async def test_a_turn_that_fails_gives_its_slot_back() -> None:
    slots = slots_of(1, queue=0)
    with pytest.raises(ValueError, match="broken"):
        async with slots.taken():
            raise ValueError("broken")
    async with slots.taken():
        assert slots.running == 1


async def test_whoever_has_waited_too_long_is_refused_and_leaves_the_line() -> None:
    slots = slots_of(1, queue=1, longest_wait_seconds=0.01)
    async with slots.taken():
        await refused(slots)
        assert slots.waiting == 0
    async with slots.taken():
        assert slots.running == 1


async def test_the_hint_follows_how_long_turns_have_lately_held_their_slots() -> None:
    clock = Clock()
    slots = slots_of(2, queue=0, clock=clock)
    for _ in range(200):
        await hold(slots, clock, seconds=8.0)
    assert await hint(slots) == pytest.approx(4.0, rel=0.01)
    for _ in range(200):
        await hold(slots, clock, seconds=2.0)
    assert await hint(slots) == pytest.approx(1.0, rel=0.01)


async def test_the_hint_grows_with_the_line() -> None:
    slots = slots_of(1, queue=2)
    crowd = Crowd(slots)
    for _ in range(3):
        crowd.comes()
    await crowd.settles()
    assert (await refused(slots)).retry_after_seconds == 3.0
    for number in range(3):
        crowd.leaves(number)
    await crowd.outcomes()


@pytest.mark.parametrize(("seconds", "told"), [(0.0001, SHORTEST_RETRY_SECONDS), (5000.0, LONGEST_RETRY_SECONDS)])
async def test_the_hint_is_neither_nothing_nor_an_eternity(seconds: float, told: float) -> None:
    clock = Clock()
    slots = slots_of(1, queue=0, clock=clock)
    for _ in range(200):
        await hold(slots, clock, seconds=seconds)
    assert await hint(slots) == told

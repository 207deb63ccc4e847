"""What metered turns reserve and settle, however they end."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import msgspec
import pytest

from meshkit.errors import Reason, ShoalError
from services.agent.conversation import Delta, Sampling, Usage
from services.agent.heartbeats import with_heartbeats
from services.agent.request import TurnRequest
from tests.unit.agent.scripted_agent import ScriptedAgent, Step
from tests.unit.agent.world import ACME, METERED, STOP, MemoryQuota, World

TASK = TurnRequest(task="Say hello.")
SHOWN = 7 + 2 * 8
"""Tokens of the prompt, by estimate: two messages, 9 bytes of instructions and 10 of the task."""


def pause() -> Awaitable[None]:
    return asyncio.sleep(0)


def world_of(*script: Step) -> World:
    return World(agent=ScriptedAgent(*script))


async def read(world: World) -> None:
    """A turn as Execute runs it."""
    await world.events(TASK, METERED)


async def read_with_heartbeats(world: World) -> None:
    """A turn as ExecuteStream runs it: another task computes the answer."""
    async with (
        world.running(TASK, METERED) as turn,
        aclosing(with_heartbeats(turn.events(), interval_seconds=60, most=1)) as events,
    ):
        async for _ in events:
            pass


async def test_a_turn_reserves_before_it_begins_and_settles_what_the_model_tells() -> None:
    world = world_of(Delta("Hello"), Usage(7, 11), STOP)
    async with world.running(TASK, METERED) as turn, aclosing(turn.events()) as answer:
        assert world.quota.running == {"reservation_1": SHOWN + 1000}
        assert world.agent.turns == []
        async for event in answer:
            assert bool(world.quota.settled) == (event == STOP), "whoever has seen the end finds the place free"
    assert (world.quota.running, world.quota.settled) == ({}, [("reservation_1", 18)])


async def test_max_tokens_are_reserved_where_a_caller_names_them() -> None:
    world = World()
    request = msgspec.structs.replace(TASK, sampling=Sampling(max_tokens=20))
    async with world.running(request, METERED):
        assert world.quota.running == {"reservation_1": SHOWN + 20}


async def test_a_caller_who_is_not_metered_is_not_asked_about() -> None:
    world = World()
    await world.events(TASK, ACME)
    assert (world.quota.asked, world.quota.settled) == ([], [])


async def test_an_answer_from_the_cache_costs_nothing() -> None:
    world = World()
    await world.events(TASK, ACME)
    world.quota.refusal = ShoalError(Reason.LIMITER_UNAVAILABLE, "gone")
    assert (await world.events(TASK, METERED))[-1] == STOP
    assert (world.quota.asked, world.quota.settled) == ([], [])


@pytest.mark.parametrize("reason", [Reason.RATE_LIMITED, Reason.COST_ABOVE_CAPACITY])
async def test_a_refused_turn_does_not_begin_and_has_nothing_to_settle(reason: Reason) -> None:
    world = World(quota=MemoryQuota(refusal=ShoalError(reason, "No.", retry_after_seconds=3.5)))
    with pytest.raises(ShoalError) as refused:
        await world.events(TASK, METERED)
    assert (refused.value.reason, refused.value.retry_after_seconds) == (reason, 3.5)
    assert (world.agent.turns, world.quota.settled) == ([], [])


async def test_without_the_limiter_a_metered_turn_is_refused_and_what_may_have_been_made_is_let_go() -> None:
    world = World(quota=MemoryQuota(refusal=ShoalError(Reason.LIMITER_UNAVAILABLE, "gone")))
    with pytest.raises(ShoalError) as refused:
        await world.events(TASK, METERED)
    assert refused.value.reason is Reason.LIMITER_UNAVAILABLE
    assert (world.agent.turns, world.quota.settled) == ([], [("reservation_1", 0)])


async def test_a_model_that_fails_half_way_is_settled_with_what_it_said() -> None:
    world = world_of(Delta("Hello"), ShoalError(Reason.MODEL_TIMEOUT, "silent"))
    with pytest.raises(ShoalError, match="silent"):
        await world.events(TASK, METERED)
    assert world.quota.settled == [("reservation_1", SHOWN + 2)]


async def test_a_model_that_could_not_be_reached_has_used_nothing() -> None:
    world = world_of(ShoalError(Reason.MODEL_UNAVAILABLE, "gone"))
    with pytest.raises(ShoalError, match="gone"):
        await world.events(TASK, METERED)
    assert world.quota.settled == [("reservation_1", 0)]


async def test_an_agent_that_does_not_end_with_completed_is_settled() -> None:
    world = world_of(Delta("Hello"))
    with pytest.raises(ShoalError):
        await world.events(TASK, METERED)
    assert world.quota.settled == [("reservation_1", SHOWN + 2)]


async def test_a_client_who_leaves_before_the_first_event_has_used_nothing() -> None:
    world = World()
    async with world.running(TASK, METERED):
        pass
    assert (world.agent.turns, world.quota.settled) == ([], [("reservation_1", 0)])


async def test_a_client_who_leaves_half_way_pays_for_what_was_said() -> None:
    world = World()
    async with world.running(TASK, METERED) as turn, aclosing(turn.events()) as answer:
        assert await anext(answer) == Delta("Hel")
    assert (world.agent.ended, world.quota.settled) == (1, [("reservation_1", SHOWN + 1)])


@pytest.mark.parametrize("run", [read, read_with_heartbeats])
@pytest.mark.parametrize("cancellations", [1, 2, 3])
async def test_wherever_a_turn_is_cancelled_it_settles_once(
    run: Callable[[World], Awaitable[None]], cancellations: int
) -> None:
    cancelled = 0
    for rounds in itertools.count():
        world = world_of(pause, pause, Delta("Hello"), pause, pause, Usage(7, 11), STOP)
        turn = asyncio.ensure_future(run(world))
        for _ in range(rounds):
            await pause()
        for _ in range(cancellations):
            turn.cancel()
            await pause()
        await asyncio.gather(turn, return_exceptions=True)
        assert [reservation_id for reservation_id, _ in world.quota.settled] == world.quota.asked
        assert world.quota.running == {}
        if not turn.cancelled():
            break
        cancelled += 1
    assert cancelled > 10
    assert world.quota.settled == [("reservation_1", 18)]


async def test_a_cancelled_turn_waits_until_it_is_settled() -> None:
    world = World()
    reached, goes_on = asyncio.Event(), asyncio.Event()

    async def settling() -> None:
        reached.set()
        await goes_on.wait()

    world.quota.settling = settling
    turn = asyncio.create_task(world.events(TASK, METERED))
    await reached.wait()
    for _ in range(3):
        turn.cancel()
        await pause()
    assert not turn.done()
    goes_on.set()
    await asyncio.gather(turn, return_exceptions=True)
    assert turn.cancelled()
    assert len(world.quota.settled) == 1


async def test_a_settlement_that_fails_does_not_spoil_the_answer() -> None:
    world = World()

    async def settling() -> None:
        raise ShoalError(Reason.LIMITER_UNAVAILABLE, "gone")

    world.quota.settling = settling
    assert (await world.events(TASK, METERED))[-1] == STOP


async def test_a_turn_that_runs_is_renewed_and_one_that_has_ended_is_not() -> None:
    world = World(ttl_seconds=0.003)
    world.agent.script = (world.quota.renewed.wait, *world.agent.script)
    await world.events(TASK, METERED)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_renewal_that_fails_is_tried_again() -> None:
    world = World(ttl_seconds=0.003, quota=(quota := FailingOnce()))
    world.agent.script = (quota.renewed.wait, *world.agent.script)
    assert (await world.events(TASK, METERED))[-1] == STOP


async def test_the_place_of_a_turn_is_free_for_the_next() -> None:
    world = World(quota=MemoryQuota(places=1))
    async with world.running(TASK, METERED):
        with pytest.raises(ShoalError) as refused:
            await world.events(TASK, METERED)
        assert refused.value.reason is Reason.RATE_LIMITED
    assert (await world.events(TASK, METERED))[-1] == STOP


class FailingOnce(MemoryQuota):
    """The limiter cannot be reached for the first renewal."""

    has_failed = False

    async def renew(self, reservation_id: str, *, ttl_seconds: float) -> bool:
        if not self.has_failed:
            self.has_failed = True
            raise ShoalError(Reason.LIMITER_UNAVAILABLE, "gone")
        return await super().renew(reservation_id, ttl_seconds=ttl_seconds)

"""One turn: its answer, from the agent or from the cache."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from meshkit.errors import Reason, ShoalError
from services.agent.conversation import (
    AnswerEvent,
    Completed,
    Delta,
    FinishReason,
    Message,
    Role,
    Sampling,
    Tool,
    ToolCall,
    Usage,
)
from services.agent.ports import AgentTurn
from services.agent.report import CacheReport, CacheStatus, Started
from services.agent.request import CacheControl, CacheMode, TurnRequest
from tests.unit.agent.scripted_agent import ScriptedAgent, Step
from tests.unit.agent.world import ANONYMOUS, NOW, STOP, World

TASK = TurnRequest(task="Say hello.")
IN_SESSION = TurnRequest(task="Say hello.", session_id="s")
PRICED = (Delta("Hel"), Delta("lo"), Usage(1_000_000, 2_000_000, 21.0), STOP)


def world_of(*script: Step) -> World:
    return World(agent=ScriptedAgent(*script))


async def test_a_turn_has_a_beginning_a_priced_answer_and_an_end() -> None:
    world = World()
    begun, answer = await world.turn(TASK)
    assert begun == Started(
        id="turn_1",
        stream_id="stream_2",
        model="small",
        why="the default model",
        cache=CacheReport(status=CacheStatus.MISS, key=world.cache.look_ups[0].key),
        session_id="",
        created=NOW,
    )
    assert answer == list(PRICED)


async def test_the_agent_is_given_the_whole_prompt() -> None:
    world = World()
    tool = Tool("add", "Adds.", {})
    await world.events(
        TurnRequest(task="Add.", model="large", sampling=Sampling(seed=1), tools=(tool,), tool_choice="add")
    )
    (turn,) = world.agent.turns
    assert turn.output_caching is not None
    assert turn == AgentTurn(
        model="large",
        messages=(Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Add.")),
        sampling=Sampling(seed=1),
        tools=(tool,),
        tool_choice="add",
        tenant="acme",
        output_caching=turn.output_caching,
    )


async def test_a_hit_is_replayed_without_the_agent() -> None:
    world = World()
    await world.events(TASK)
    started, answer = await world.turn(TASK)
    assert tuple(answer) == PRICED
    assert (started.cache.status, started.cache.level, started.cache.age_seconds) == (CacheStatus.HIT, "l1", 7.0)
    assert len(world.agent.turns) == 1


async def test_a_hit_names_the_model_that_answered_though_the_default_is_another_by_now() -> None:
    before = World(models=("small", "large"))
    await before.events(TASK)
    after = World(models=("large", "small"), cache=before.cache)
    started = await after.started(TASK)
    assert (started.cache.status, started.model) == (CacheStatus.HIT, "small")


@pytest.mark.parametrize(
    "request_",
    [TurnRequest(task="Hello.", cache=CacheControl(mode=CacheMode.BYPASS)), TurnRequest(task="Hello now.")],
)
async def test_a_bypass_neither_looks_up_nor_stores(request_: TurnRequest) -> None:
    world = World()
    for _ in range(2):
        assert (await world.started(request_)).cache.status is CacheStatus.BYPASS
    assert len(world.agent.turns) == 2
    assert (world.cache.look_ups, world.cache.kept) == ([], {})


@pytest.mark.parametrize("reason", [FinishReason.LENGTH, FinishReason.CONTENT_FILTER])
async def test_a_cut_off_answer_is_given_but_not_stored(reason: FinishReason) -> None:
    world = world_of(Delta("Hel"), Completed(reason))
    assert await world.events(TASK) == [Delta("Hel"), Completed(reason)]
    assert world.cache.kept == {}


async def test_the_wish_for_a_tool_is_stored_like_an_answer() -> None:
    answer: Sequence[AnswerEvent] = (ToolCall("call_1", "add", "{}"), Usage(1, 1), Completed(FinishReason.TOOL_CALLS))
    world = world_of(*answer)
    await world.events(TASK)
    assert [len(kept.events) for kept in world.cache.kept.values()] == [3]
    assert [type(event) for event in await world.events(TASK)] == [ToolCall, Usage, Completed]


@pytest.mark.parametrize(
    "script", [[], [Delta("Hel")], [Delta("Hel"), STOP, Delta("lo")], [Delta("Hel"), asyncio.CancelledError()]]
)
async def test_an_agent_that_does_not_end_with_completed_has_failed(script: list[Step]) -> None:
    world = world_of(*script)
    with pytest.raises(ShoalError) as failed:
        await world.events(IN_SESSION)
    assert failed.value.reason is Reason.MODEL_UNAVAILABLE
    assert world.cache.kept == {}
    assert (await world.sessions.load("acme", "s")).messages == ()


async def test_a_failure_in_the_middle_comes_after_what_was_said_and_leaves_nothing_behind() -> None:
    world = world_of(Delta("Hel"), ShoalError(Reason.MODEL_TIMEOUT, "silent"))
    async with world.running(IN_SESSION) as turn, aclosing(turn.events()) as answer:
        assert await anext(answer) == Delta("Hel")
        with pytest.raises(ShoalError, match="silent"):
            await anext(answer)
    assert world.agent.ended == 1
    assert world.cache.kept == {}
    assert (await world.sessions.load("acme", "s")).messages == ()


async def test_closing_a_turn_closes_its_agent_and_leaves_nothing_behind() -> None:
    world = World()
    async with world.running(IN_SESSION) as turn, aclosing(turn.events()) as answer:
        assert await anext(answer) == Delta("Hel")
    assert world.agent.ended == 1
    assert world.cache.kept == {}
    assert (await world.sessions.load("acme", "s")).messages == ()


async def test_cancelling_a_turn_ends_an_agent_that_waits() -> None:
    waiting = asyncio.Event()

    async def wait_for_ever() -> None:
        waiting.set()
        await asyncio.Event().wait()

    world = world_of(wait_for_ever)
    turn = asyncio.create_task(world.events(TASK))
    await waiting.wait()
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    assert turn.cancelled()
    assert world.agent.ended == 1


async def test_who_has_seen_the_end_finds_the_answer_stored() -> None:
    world = World()
    async with world.running(TASK) as turn, aclosing(turn.events()) as answer:
        async for event in answer:
            assert bool(world.cache.kept) == (event == STOP)


async def test_an_unknown_model_is_refused_before_anything_else() -> None:
    world = World()
    with pytest.raises(ShoalError) as refused:
        await world.events(TurnRequest(task="Hello.", model="largest", session_id="s"), ANONYMOUS)
    assert (refused.value.reason, refused.value.field) == (Reason.MODEL_UNKNOWN, "model")
    assert world.agent.turns == []

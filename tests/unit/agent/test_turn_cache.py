"""How a turn uses the cache: modes, what is kept and for how long, stale answers and their renewal."""

import asyncio
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from meshkit.errors import Reason, ShoalError
from services.agent.conversation import (
    AnswerEvent,
    Completed,
    Delta,
    FinishReason,
    Message,
    Role,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)
from services.agent.ports import KeptOutput, Lifetime
from services.agent.report import CacheReport, CacheStatus
from services.agent.request import CacheControl, CacheMode, TurnRequest
from tests.unit.agent.scripted_agent import ScriptedAgent, Step
from tests.unit.agent.world import METERED, STALE_SECONDS, STOP, TTL_SECONDS, MemoryQuota, World, all_else_done

TASK = TurnRequest(task="Say hello.")
KEPT = Lifetime(ttl_seconds=TTL_SECONDS, stale_seconds=STALE_SECONDS)
PRICED = (Delta("Hel"), Delta("lo"), Usage(1_000_000, 2_000_000, 21.0), STOP)


def asking(**control: Any) -> TurnRequest:
    return msgspec.structs.replace(TASK, cache=CacheControl(**control))


async def kept_before(world: World, *script: Step) -> str:
    """Lets the cache have an answer to TASK; its key."""
    ours, world.agent.script = world.agent.script, script or world.agent.script
    key = await world.key_of(TASK)
    world.agent.script = ours
    return key


def text_of(answer: list[AnswerEvent]) -> str:
    return "".join(event.text for event in answer if isinstance(event, Delta))


async def test_a_miss_is_reported_with_what_became_of_the_answer_once_its_end_was_seen() -> None:
    world = World()
    async with world.running(TASK) as turn, aclosing(turn.events()) as answer:
        key = world.cache.look_ups[0].key
        before = CacheReport(status=CacheStatus.MISS, key=key)
        assert turn.started.cache == before
        async for event in answer:
            assert turn.cache == (msgspec.structs.replace(before, lifetime=KEPT) if event == STOP else before)


async def test_a_hit_is_reported_with_key_level_age_and_lifetime_from_the_beginning() -> None:
    world = World()
    key = await kept_before(world)
    report = CacheReport(status=CacheStatus.HIT, key=key, level="l1", age_seconds=7.0, lifetime=KEPT)
    assert (await world.started(TASK)).cache == report
    assert await world.reported(TASK) == report


@pytest.mark.parametrize("finish", [FinishReason.LENGTH, FinishReason.CONTENT_FILTER])
async def test_an_answer_that_is_not_kept_has_no_lifetime(finish: FinishReason) -> None:
    report = await World(agent=ScriptedAgent(Delta("Hel"), Completed(finish))).reported(TASK)
    assert (report.status, report.lifetime) == (CacheStatus.MISS, None)


async def test_without_the_cache_the_answer_is_computed_and_not_kept() -> None:
    world = World()
    world.cache.is_gone = True
    report = await world.reported(TASK)
    assert (report.status, report.lifetime) == (CacheStatus.MISS, None)
    assert world.agent.turns[0].kept_output is None, "the cache is not asked a second time"


@pytest.mark.parametrize("mode", [CacheMode.DEFAULT, CacheMode.BYPASS, CacheMode.REFRESH])
@pytest.mark.parametrize("public", [True, False])
async def test_public_is_reported_whatever_becomes_of_the_answer(mode: CacheMode, public: bool) -> None:
    assert (await World().reported(asking(mode=mode, public=public))).public is public


async def test_time_to_live_and_tags_are_those_of_the_turn_that_stores() -> None:
    world = World()
    report = await world.reported(asking(ttl_seconds=60, tags=("a", "b")))
    assert report.lifetime == Lifetime(ttl_seconds=60, stale_seconds=STALE_SECONDS)
    (kept,) = world.cache.kept.values()
    assert (kept.tags, kept.asked_ttl_seconds) == (("a", "b"), 60)
    assert (await world.reported(asking(ttl_seconds=90, tags=("c",)))).lifetime == report.lifetime
    assert list(world.cache.kept.values()) == [kept]


async def test_an_answer_is_handed_in_with_the_lead_that_its_look_up_gave() -> None:
    world = World()
    key = await kept_before(world)
    assert (world.cache.leads[key].key, world.cache.leads[key].generation) == (key, 1)


async def test_a_bypass_reports_no_key() -> None:
    report = await World().reported(asking(mode=CacheMode.BYPASS))
    assert report == CacheReport(status=CacheStatus.BYPASS)


async def test_a_refresh_does_not_look_up_and_takes_the_place_of_what_there_was() -> None:
    world = World()
    key = await kept_before(world, Delta("old"), STOP)
    started, answer = await world.turn(asking(mode=CacheMode.REFRESH))
    assert (started.cache.status, started.cache.key, text_of(answer)) == (CacheStatus.MISS, key, "Hello")
    assert world.cache.look_ups[-1].refresh
    assert text_of(await world.events(TASK)) == "Hello"
    assert len(world.agent.turns) == 2


async def test_only_takes_what_there_is() -> None:
    world = World()
    await kept_before(world)
    started, answer = await world.turn(asking(mode=CacheMode.ONLY))
    assert (started.cache.status, tuple(answer)) == (CacheStatus.HIT, PRICED)


@pytest.mark.parametrize("task", ["Say hello.", "Say hello now."])
@pytest.mark.parametrize("is_gone", [False, True])
async def test_only_computes_nothing_and_reserves_nothing(task: str, is_gone: bool) -> None:
    world = World()
    world.cache.is_gone = is_gone
    request = TurnRequest(task=task, cache=CacheControl(mode=CacheMode.ONLY))
    with pytest.raises(ShoalError) as refused:
        await world.events(request, METERED)
    assert (refused.value.reason, refused.value.field) == (Reason.NOT_CACHED, "cache.mode")
    assert (world.agent.turns, world.quota.asked) == ([], [])


async def test_what_asks_about_now_is_never_looked_up_or_kept_whatever_the_mode() -> None:
    world = World()
    for mode in (CacheMode.DEFAULT, CacheMode.REFRESH):
        request = TurnRequest(task="What is it now?", cache=CacheControl(mode=mode))
        assert (await world.reported(request)).status is CacheStatus.BYPASS
    assert (world.cache.look_ups, world.cache.kept) == ([], {})
    assert {turn.kept_output for turn in world.agent.turns} == {None}


SEND = Tool("send", "Sends a letter.", {}, has_side_effects=True)
SENDING = ToolCall("call_1", "send", "{}")
ASKED = (Message(Role.USER, "Send it."), Message(Role.ASSISTANT, "", tool_calls=(SENDING,)))
SENT = Message(Role.TOOL, "sent", tool_call_id="call_1")


@pytest.mark.parametrize("event", [SENDING, ToolResult("1", "send", "sent", has_side_effects=True)])
async def test_a_turn_whose_tools_had_side_effects_is_given_but_not_kept(event: AnswerEvent) -> None:
    world = World(agent=ScriptedAgent(event, STOP))
    request = TurnRequest(task="Send it.", tools=(SEND,))
    assert await world.events(request) == [event, STOP]
    assert world.cache.kept == {}


async def test_a_turn_that_continues_one_with_side_effects_does_not_meet_the_cache() -> None:
    world = World()
    request = TurnRequest(task="", tools=(SEND,), history=(*ASKED, SENT))
    assert (await world.reported(request)).status is CacheStatus.BYPASS
    assert (world.cache.look_ups, world.cache.kept) == ([], {})


async def test_a_session_in_which_there_were_side_effects_does_not_meet_the_cache() -> None:
    world = World()
    await world.sessions.append("acme", "s", epoch=0, messages=(*ASKED, SENT))
    request = TurnRequest(task="Well?", tools=(SEND,), session_id="s")
    assert (await world.reported(request)).status is CacheStatus.BYPASS


async def test_the_results_of_an_agents_own_tools_are_replayed_in_their_place() -> None:
    result = ToolResult("1", "search", "found", has_side_effects=False)
    events: list[AnswerEvent] = [Delta("I look"), result, Delta("It is"), Usage(1, 2), STOP]
    world = World(agent=ScriptedAgent(*events), models=("large",))
    assert await world.events(TASK) == await world.events(TASK) == events
    assert len(world.agent.turns) == 1


async def test_leave_to_use_a_models_output_says_of_which_answer_it_is_a_part() -> None:
    world = World()
    await world.events(asking(mode=CacheMode.REFRESH, ttl_seconds=60, tags=("a",)))
    key = world.cache.look_ups[0].key
    leave = KeptOutput(tenant="acme", answer_key=key, generation=1, refresh=True, ttl_seconds=60, tags=("a",))
    assert world.agent.turns[0].kept_output == leave
    await world.events(TurnRequest(task="Say goodbye."))
    leave = world.agent.turns[1].kept_output or leave
    assert (leave.generation, leave.refresh, leave.ttl_seconds, leave.tags) == (2, False, None, ())


async def test_an_answer_that_was_invalidated_is_made_of_nothing_that_is_kept() -> None:
    world = World()
    world.cache.invalidated = {await kept_before(world)}
    await world.events(TASK)
    assert [turn.kept_output and turn.kept_output.refresh for turn in world.agent.turns] == [False, True]


async def stale(world: World, **control: Any) -> str:
    """Lets the cache have a stale answer to TASK, "old"; its key."""
    ours, world.agent.script = world.agent.script, (Delta("old"), Usage(1, 2), STOP)
    key = await world.key_of(asking(**control))
    world.agent.script = ours
    world.cache.age_seconds = TTL_SECONDS + 1
    return key


async def test_a_stale_answer_is_given_at_once_and_computed_anew_beside_it() -> None:
    may_go_on = asyncio.Event()
    world = World()
    key = await stale(world)
    world.agent.script = (may_go_on.wait, *world.agent.script)
    started, answer = await world.turn(TASK)
    assert (started.cache.status, started.cache.is_stale, text_of(answer)) == (CacheStatus.HIT, True, "old")
    assert text_of(list(world.cache.kept[key].events)) == "old"
    may_go_on.set()
    await all_else_done()
    assert world.cache.leads[key].generation == 2
    world.cache.age_seconds = 0.0
    started, answer = await world.turn(TASK)
    assert (started.cache.is_stale, tuple(answer)) == (False, PRICED)


async def test_only_the_caller_with_the_lead_computes_anew() -> None:
    world = World()
    await stale(world)
    for _ in range(3):
        assert (await world.started(TASK)).cache.is_stale
    await all_else_done()
    assert len(world.agent.turns) == 2


async def test_a_renewal_asks_the_model_anew_and_keeps_tags_and_time_to_live_of_the_answer() -> None:
    world = World()
    key = await stale(world, tags=("a",), ttl_seconds=60)
    await world.events(asking(tags=("b",), ttl_seconds=90))
    await all_else_done()
    assert (world.cache.kept[key].tags, world.cache.kept[key].asked_ttl_seconds) == (("a",), 60)
    leave = KeptOutput(tenant="acme", answer_key=key, generation=2, refresh=True, ttl_seconds=60, tags=("a",))
    assert world.agent.turns[-1].kept_output == leave


async def test_a_renewal_touches_no_session() -> None:
    world = World()
    await stale(world)
    await world.events(msgspec.structs.replace(TASK, session_id="s"))
    await all_else_done()
    heard = (await world.sessions.load("acme", "s")).messages
    assert heard == (Message(Role.USER, "Say hello."), Message(Role.ASSISTANT, "old"))


async def test_a_renewal_reserves_and_settles_for_itself() -> None:
    world = World()
    await stale(world)
    assert (await world.events(TASK, METERED))[-1] == STOP
    await all_else_done()
    assert (world.quota.running, world.quota.settled) == ({}, [("reservation_1", 3_000_000)])


async def test_a_renewal_that_is_refused_leaves_the_stale_answer_and_nobody_hears_of_it() -> None:
    world = World(quota=MemoryQuota(refusal=ShoalError(Reason.RATE_LIMITED, "No.")))
    key = await stale(world)
    assert text_of(await world.events(TASK, METERED)) == "old"
    await all_else_done()
    assert text_of(list(world.cache.kept[key].events)) == "old"
    assert len(world.agent.turns) == 1


@pytest.mark.parametrize(
    "script",
    [
        [ShoalError(Reason.MODEL_TIMEOUT, "silent")],
        [Delta("Hel")],
        [Delta("Hel"), Completed(FinishReason.LENGTH)],
        [RuntimeError("a bug")],
    ],
)
async def test_a_renewal_that_fails_leaves_the_stale_answer(script: list[Step]) -> None:
    world = World()
    key = await stale(world)
    world.agent.script = tuple(script)
    assert text_of(await world.events(TASK)) == "old"
    await all_else_done()
    assert text_of(list(world.cache.kept[key].events)) == "old"
    assert len(world.agent.turns) == 2


async def test_only_gives_a_stale_answer_without_computing_it_anew() -> None:
    world = World()
    await stale(world)
    started, _ = await world.turn(asking(mode=CacheMode.ONLY))
    await all_else_done()
    assert started.cache.is_stale
    assert len(world.agent.turns) == 1

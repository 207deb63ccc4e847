"""How a turn uses the cache: modes, tags, what is kept and for how long."""

from contextlib import aclosing

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
from services.agent.ports import Lifetime, OutputCaching
from services.agent.report import CacheReport, CacheStatus
from services.agent.request import CacheControl, CacheMode, TurnRequest
from tests.unit.agent.scripted_agent import ScriptedAgent, Step
from tests.unit.agent.world import METERED, PRICED, STALE_SECONDS, STOP, TASK, TTL_SECONDS, World, asking, text_of

KEPT = Lifetime(ttl_seconds=TTL_SECONDS, stale_seconds=STALE_SECONDS)


async def kept_before(world: World, *script: Step) -> str:
    """Lets the cache have an answer to TASK; its key."""
    ours, world.agent.script = world.agent.script, script or world.agent.script
    key = await world.key_of(TASK)
    world.agent.script = ours
    return key


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
    assert world.agent.turns[0].output_caching is None, "the cache is not asked a second time"


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


async def test_an_answer_is_not_found_with_a_tag_that_was_invalidated_though_it_was_kept_without_it() -> None:
    world = World()
    await kept_before(world, Delta("old"), STOP)
    world.cache.invalidated = {"a"}
    assert (await world.started(TASK)).cache.status is CacheStatus.HIT
    started, answer = await world.turn(asking(tags=("a",)))
    assert (started.cache.status, text_of(answer)) == (CacheStatus.MISS, "Hello")
    assert (await world.started(asking(tags=("a",)))).cache.status is CacheStatus.HIT


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
    assert (world.cache.look_ups[-1].refresh, world.cache.look_ups[-1].only) == (True, False)
    assert text_of(await world.events(TASK)) == "Hello"
    assert len(world.agent.turns) == 2


async def test_only_takes_what_there_is_and_says_that_it_computes_nothing() -> None:
    world = World()
    await kept_before(world)
    started, answer = await world.turn(asking(mode=CacheMode.ONLY))
    assert (started.cache.status, tuple(answer)) == (CacheStatus.HIT, PRICED)
    assert [(look_up.only, look_up.refresh) for look_up in world.cache.look_ups] == [(False, False), (True, False)]


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
    assert {turn.output_caching for turn in world.agent.turns} == {None}


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
    caching = OutputCaching(tenant="acme", part_of=key, generation=1, refresh=True, ttl_seconds=60, tags=("a",))
    assert world.agent.turns[0].output_caching == caching
    await world.events(TurnRequest(task="Say goodbye."))
    caching = world.agent.turns[1].output_caching or caching
    assert (caching.generation, caching.refresh, caching.ttl_seconds, caching.tags) == (2, False, None, ())


async def test_an_answer_that_was_invalidated_is_made_of_nothing_that_is_kept() -> None:
    world = World()
    world.cache.invalidated = {await kept_before(world)}
    await world.events(TASK)
    assert [turn.output_caching and turn.output_caching.refresh for turn in world.agent.turns] == [False, True]

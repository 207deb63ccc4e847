"""Turns that are given a stale answer, and its renewal beside them."""

import asyncio
from typing import Any

import msgspec
import pytest

from meshkit.errors import Reason, ShoalError
from services.agent.conversation import Completed, Delta, FinishReason, Message, Role, Usage
from services.agent.ports import OutputCaching
from services.agent.report import CacheStatus
from services.agent.request import CacheMode
from tests.unit.agent.scripted_agent import Step
from tests.unit.agent.world import (
    METERED,
    PRICED,
    STOP,
    TASK,
    TTL_SECONDS,
    MemoryQuota,
    World,
    all_else_done,
    asking,
    text_of,
)


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
    assert text_of(world.cache.kept[key].events) == "old"
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
    caching = OutputCaching(tenant="acme", part_of=key, generation=2, refresh=True, ttl_seconds=60, tags=("a",))
    assert world.agent.turns[-1].output_caching == caching


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
    assert text_of(world.cache.kept[key].events) == "old"
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
    assert text_of(world.cache.kept[key].events) == "old"
    assert len(world.agent.turns) == 2


async def test_only_gives_a_stale_answer_without_computing_it_anew() -> None:
    world = World()
    await stale(world)
    started, _ = await world.turn(asking(mode=CacheMode.ONLY))
    await all_else_done()
    assert started.cache.is_stale
    assert len(world.agent.turns) == 1

"""A model whose outputs are kept."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from meshkit.errors import Reason, ShoalError
from services.agent.cached_model import CachedModel
from services.agent.chat_agent import ChatAgent
from services.agent.conversation import (
    AnswerEvent,
    Completed,
    Delta,
    FinishReason,
    Message,
    Role,
    Tool,
    ToolCall,
    Usage,
)
from services.agent.ports import AgentTurn, CachedKind, ChatRequest, OutputCaching
from services.agent.pricing import PriceList
from services.agent.report import CacheStatus
from services.agent.request import CacheControl, CacheMode, TurnRequest
from tests.unit.agent.scripted_agent import ScriptedAgent
from tests.unit.agent.scripted_model import ScriptedModel
from tests.unit.agent.world import METERED, STOP, TTL_SECONDS, Asked, MemoryCache, World

PRICES = PriceList.parse("small=1/10")
SAID = (Delta("Hel"), Delta("lo"), Usage(1_000_000, 2_000_000), STOP)
REPLAYED = [Delta("Hel"), Delta("lo"), Usage(1_000_000, 2_000_000, 21.0, from_cache=True), STOP]
CACHING = OutputCaching(tenant="acme", part_of="k", generation=5, refresh=False, ttl_seconds=60, tags=("a",))
HI = ChatRequest(model="small", messages=(Message(Role.USER, "Hi."),), output_caching=CACHING)
SEND = Tool("send", "Sends a letter.", {}, has_side_effects=True)
SENDING = ToolCall("call_1", "send", "{}")


class Kept:
    """A model with a cache before it."""

    def __init__(self, *answer: AnswerEvent) -> None:
        self.model = ScriptedModel("small", answer=answer or SAID)
        self.cache = MemoryCache()
        self.cached = CachedModel(self.model, cache=self.cache, prices=PRICES)

    async def say(self, request: ChatRequest = HI, **changes: Any) -> list[AnswerEvent]:
        return [event async for event in self.cached.chat(msgspec.structs.replace(request, **changes))]


class ChattingAgent(ScriptedAgent):
    """Shoal's own agent in the place of the scripted one."""

    def __init__(self, model: CachedModel) -> None:
        super().__init__()
        self._chat = ChatAgent(model)

    def run(self, turn: AgentTurn) -> AsyncGenerator[AnswerEvent, None]:
        return self._chat.run(turn)


class BreakingModel(ScriptedModel):
    """Fails when it has said what it has to say."""

    async def chat(self, request: ChatRequest) -> AsyncGenerator[AnswerEvent, None]:
        async for event in super().chat(request):
            yield event
        raise ShoalError(Reason.MODEL_TIMEOUT, "silent")


def world_of(kept: Kept) -> World:
    return World(agent=ChattingAgent(kept.cached), cache=kept.cache)


async def test_what_was_said_once_is_said_again_without_the_model() -> None:
    kept = Kept()
    assert await kept.say() == list(SAID)
    assert await kept.say() == REPLAYED
    assert len(kept.model.requests) == 1


async def test_it_is_looked_up_and_kept_as_a_part_of_its_answer() -> None:
    kept = Kept()
    await kept.say()
    (look_up,) = kept.cache.look_ups
    assert look_up == Asked(
        key=look_up.key, kind=CachedKind.MODEL_OUTPUT, part_of="k", tags=("a",), generation=5, refresh=False
    )
    (output,) = kept.cache.kept.values()
    assert (output.tags, output.asked_ttl_seconds) == (("a",), 60)
    assert kept.cache.leads[look_up.key].kind is CachedKind.MODEL_OUTPUT


async def test_another_answers_part_is_the_same_output() -> None:
    kept = Kept()
    await kept.say()
    assert await kept.say(output_caching=msgspec.structs.replace(CACHING, part_of="other")) == REPLAYED


async def test_another_tenant_or_another_question_has_its_own_output() -> None:
    kept = Kept()
    await kept.say()
    await kept.say(output_caching=msgspec.structs.replace(CACHING, tenant="rival"))
    await kept.say(messages=(Message(Role.USER, "Ho."),))
    assert len(kept.model.requests) == 3


async def test_without_leave_the_model_is_asked_and_nothing_is_kept() -> None:
    kept = Kept()
    for _ in range(2):
        assert await kept.say(output_caching=None) == list(SAID)
    assert (len(kept.model.requests), kept.cache.look_ups, kept.cache.kept) == (2, [], {})


async def test_a_refresh_asks_the_model_anew_and_replaces_what_it_said() -> None:
    kept = Kept()
    await kept.say()
    kept.model.answer = (Delta("Ho"), STOP)
    assert await kept.say(output_caching=msgspec.structs.replace(CACHING, refresh=True)) == [Delta("Ho"), STOP]
    assert await kept.say() == [Delta("Ho"), STOP]


async def test_without_the_cache_the_model_is_asked() -> None:
    kept = Kept()
    kept.cache.is_gone = True
    for _ in range(2):
        assert await kept.say() == list(SAID)
    assert len(kept.model.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [
        [Delta("Hel")],
        [Delta("Hel"), Completed(FinishReason.LENGTH)],
        [Delta(""), STOP],
        [Delta("Hel"), Completed(FinishReason.CONTENT_FILTER)],
        [SENDING, Completed(FinishReason.TOOL_CALLS)],
    ],
)
async def test_what_is_not_whole_or_has_side_effects_is_not_kept(answer: list[AnswerEvent]) -> None:
    kept = Kept(*answer)
    assert await kept.say(tools=(SEND,)) == answer
    assert kept.cache.kept == {}


async def test_a_conversation_with_side_effects_is_neither_looked_up_nor_kept() -> None:
    kept = Kept()
    asked = Message(Role.ASSISTANT, "", tool_calls=(SENDING,))
    await kept.say(messages=(asked, Message(Role.TOOL, "sent", tool_call_id="call_1")), tools=(SEND,))
    assert (kept.cache.look_ups, kept.cache.kept) == ([], {})


async def test_an_output_that_is_left_half_way_is_not_kept() -> None:
    kept = Kept()
    async with aclosing(kept.cached.chat(HI)) as events:
        assert await anext(events) == Delta("Hel")
    assert kept.cache.kept == {}


async def test_whoever_has_seen_the_end_finds_the_output_kept() -> None:
    kept = Kept()
    async for event in kept.cached.chat(HI):
        assert bool(kept.cache.kept) == (event == STOP)


async def test_a_stale_output_is_renewed_by_one_caller_and_given_to_the_others() -> None:
    kept = Kept()
    await kept.say()
    kept.cache.age_seconds = TTL_SECONDS
    kept.model.answer = (Delta("Ho"), STOP)
    async with aclosing(kept.cached.chat(HI)) as renewing:
        assert await anext(renewing) == Delta("Ho")
        assert await kept.say() == REPLAYED
        assert [event async for event in renewing] == [STOP]
    kept.cache.age_seconds = 0
    assert await kept.say() == [Delta("Ho"), STOP]


async def test_models_are_those_of_the_model() -> None:
    assert [model.id for model in await Kept().cached.models()] == ["small"]


async def test_a_turn_whose_answer_is_gone_takes_the_models_output_and_costs_no_tokens() -> None:
    kept = Kept()
    world = world_of(kept)
    await world.events(TurnRequest(task="Hi."), METERED)
    answer_key = world.cache.look_ups[0].key
    del world.cache.kept[answer_key]
    started, answer = await world.turn(TurnRequest(task="Hi."), METERED)
    assert (started.cache.status, answer) == (CacheStatus.MISS, REPLAYED)
    assert len(kept.model.requests) == 1
    assert [used for _, used in world.quota.settled] == [3_000_000, 0]
    assert world.cache.look_ups[-1].part_of == answer_key
    assert answer_key in world.cache.kept


async def test_a_hit_does_not_say_that_its_model_was_not_asked_when_it_was_computed() -> None:
    kept = Kept()
    world = world_of(kept)
    await world.events(TurnRequest(task="Hi."))
    del world.cache.kept[world.cache.look_ups[0].key]
    assert await world.events(TurnRequest(task="Hi.")) == REPLAYED
    started, answer = await world.turn(TurnRequest(task="Hi."))
    assert started.cache.status is CacheStatus.HIT
    assert answer == [Delta("Hel"), Delta("lo"), Usage(1_000_000, 2_000_000, 21.0), STOP]


async def test_a_turn_whose_answer_was_invalidated_asks_the_model_anew() -> None:
    kept = Kept()
    world = world_of(kept)
    await world.events(TurnRequest(task="Hi."))
    world.cache.invalidated = {world.cache.look_ups[0].key}
    kept.model.answer = (Delta("Ho"), STOP)
    assert await world.events(TurnRequest(task="Hi.")) == [Delta("Ho"), STOP]
    assert world.cache.look_ups[-1].generation == world.cache.leads[world.cache.look_ups[0].key].generation


@pytest.mark.parametrize(
    ("mode", "asked", "kept_answers"), [(CacheMode.DEFAULT, 1, 2), (CacheMode.REFRESH, 2, 2), (CacheMode.BYPASS, 2, 0)]
)
async def test_the_modes_of_a_turn_hold_for_the_models_output_too(
    mode: CacheMode, asked: int, kept_answers: int
) -> None:
    kept = Kept()
    world = world_of(kept)
    for _ in range(2):
        await world.events(TurnRequest(task="Hi.", cache=CacheControl(mode=mode)))
    assert (len(kept.model.requests), len(kept.cache.kept)) == (asked, kept_answers)


async def test_a_model_that_fails_leaves_nothing_behind() -> None:
    cache = MemoryCache()
    model = CachedModel(BreakingModel("small", answer=[Delta("Hel")]), cache=cache, prices=PRICES)
    async with aclosing(model.chat(HI)) as events:
        assert await anext(events) == Delta("Hel")
        with pytest.raises(ShoalError, match="silent"):
            await anext(events)
    assert cache.kept == {}

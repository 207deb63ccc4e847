"""What a turn remembers and is told: sessions and preferences."""

import asyncio
from contextlib import aclosing

import pytest

from meshkit.errors import Reason, ShoalError
from services.agent.conversation import Completed, Delta, FinishReason, Message, Role, ToolCall
from services.agent.ports import Preferences, Session
from services.agent.preference_store import MemoryPreferenceStore
from services.agent.request import TurnRequest
from services.agent.session_store import MemorySessionStore
from tests.unit.agent.scripted_agent import ScriptedAgent
from tests.unit.agent.world import ACME, ANONYMOUS, HELLO, NOW, STOP, UnreachableSessionStore, World

SAID = Message(Role.USER, "Say hello.")
HEARD = Message(Role.ASSISTANT, "Hello")
IN_SESSION = TurnRequest(task="Say hello.", session_id="s")


async def messages_of(world: World, session_id: str = "s", tenant: str = "acme") -> tuple[Message, ...]:
    return (await world.sessions.load(tenant, session_id)).messages


async def refusal(world: World, request: TurnRequest, *, anonymous: bool = False) -> ShoalError:
    with pytest.raises(ShoalError) as refused:
        await world.events(request, ANONYMOUS if anonymous else ACME)
    return refused.value


class UnreachablePreferenceStore(MemoryPreferenceStore):
    """The database is gone."""

    async def get(self, tenant: str, user_id: str) -> Preferences:
        raise ShoalError(Reason.DATABASE_UNAVAILABLE, "gone")


class HangingSessionStore(MemorySessionStore):
    """Never answers; knows whether it was given up."""

    given_up = False

    async def load(self, tenant: str, session_id: str) -> Session:
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up = True
        raise AssertionError("nobody sets that event")


async def test_a_session_remembers_task_and_answer_before_the_end_is_seen() -> None:
    world = World()
    async with world.running(IN_SESSION) as turn, aclosing(turn.events()) as answer:
        async for event in answer:
            assert await messages_of(world) == ((SAID, HEARD) if event == STOP else ())


async def test_the_next_turn_is_shown_the_ones_before() -> None:
    world = World()
    await world.events(IN_SESSION)
    await world.events(TurnRequest(task="Again.", session_id="s"))
    instructions = Message(Role.SYSTEM, "Be brief.")
    assert world.agent.turns[1].messages == (instructions, SAID, HEARD, Message(Role.USER, "Again."))
    assert await messages_of(world) == (SAID, HEARD, Message(Role.USER, "Again."), HEARD)


async def test_a_grown_session_changes_the_key() -> None:
    world = World()
    assert await world.key_of(IN_SESSION) != await world.key_of(IN_SESSION)


async def test_the_name_of_an_empty_session_does_not_change_the_key() -> None:
    world = World()
    assert await world.key_of(IN_SESSION) == await world.key_of(TurnRequest(task="Say hello."))


async def test_a_turn_alone_remembers_nothing() -> None:
    world = World()
    assert (await world.started(TurnRequest(task="Say hello."))).session_id == ""
    assert await messages_of(world, "") == ()


async def test_a_new_session_gets_an_id_that_can_be_used() -> None:
    world = World()
    started = await world.started(TurnRequest(task="Say hello.", session_id="new"))
    assert started.session_id.startswith("session_")
    assert await messages_of(world, started.session_id) == (SAID, HEARD)


async def test_an_answer_from_the_cache_is_remembered_too() -> None:
    world = World()
    await world.events(TurnRequest(task="Say hello."))
    await world.events(IN_SESSION)
    assert len(world.agent.turns) == 1
    assert await messages_of(world) == (SAID, HEARD)


async def test_facts_and_cut_off_answers_and_wishes_for_tools_are_remembered() -> None:
    call = ToolCall("call_1", "add", "{}")
    world = World(agent=ScriptedAgent(Delta("Hm"), call, Completed(FinishReason.LENGTH)))
    await world.events(TurnRequest(task="Add.", context={"a": 1}, session_id="s"))
    said, heard = await messages_of(world)
    assert said.content == 'Add.\n\nContext, as JSON:\n{"a":1}'
    assert heard == Message(Role.ASSISTANT, "Hm", tool_calls=(call,))


async def test_a_session_that_is_deleted_during_the_turn_stays_deleted() -> None:
    world = World(agent=ScriptedAgent(Delta("Hello"), lambda: world.sessions.delete("acme", "s"), STOP))
    async with world.running(IN_SESSION) as turn, aclosing(turn.events()) as answer:
        assert await anext(answer) == Delta("Hello")
        with pytest.raises(ShoalError) as refused:
            await anext(answer)
    assert refused.value.reason is Reason.SESSION_DELETED
    assert await messages_of(world) == ()


async def test_sessions_of_tenants_are_apart() -> None:
    world = World()
    await world.events(IN_SESSION)
    assert await messages_of(world, tenant="rival") == ()


async def test_without_the_state_a_turn_alone_goes_on_and_one_in_a_session_is_refused() -> None:
    world = World(sessions=UnreachableSessionStore())
    assert (await world.events(TurnRequest(task="Say hello.")))[-1] == STOP
    assert (await refusal(world, IN_SESSION)).reason is Reason.STATE_UNAVAILABLE
    assert (await refusal(world, TurnRequest(task="Hi.", session_id="new"))).reason is Reason.STATE_UNAVAILABLE


async def test_without_a_key_a_session_must_begin_as_new() -> None:
    world = World()
    error = await refusal(world, IN_SESSION, anonymous=True)
    assert (error.reason, error.field) == (Reason.SESSION_NOT_FOUND, "session_id")
    minted = (await world.started(TurnRequest(task="Say hello.", session_id="new"), ANONYMOUS)).session_id
    await world.events(TurnRequest(task="Again.", session_id=minted), ANONYMOUS)
    assert len(await messages_of(world, minted, ANONYMOUS.tenant)) == 4


async def test_without_a_key_there_are_no_preferences() -> None:
    error = await refusal(World(), TurnRequest(task="Hi.", user_id="ann"), anonymous=True)
    assert (error.reason, error.field) == (Reason.API_KEY_REQUIRED, "user_id")


async def test_preferences_are_shown_to_the_model_and_change_the_key() -> None:
    world = World()
    about_ann = TurnRequest(task="Hi.", user_id="ann")
    before = await world.key_of(about_ann)
    await world.preferences.put("acme", "ann", {"language": "de"}, expected_version=None)
    after = await world.key_of(about_ann)
    assert before != after
    assert '{"language":"de"}' in world.agent.turns[-1].messages[0].content
    assert await world.key_of(TurnRequest(task="Hi.")) == before


async def test_users_with_the_same_preferences_share_answers() -> None:
    world = World()
    for user_id in ("ann", "bob"):
        await world.preferences.put("acme", user_id, {"language": "de"}, expected_version=None)
    keys = [await world.key_of(TurnRequest(task="Hi.", user_id=user_id)) for user_id in ("ann", "bob")]
    assert keys[0] == keys[1]
    assert len(world.agent.turns) == 1


async def test_without_the_database_a_turn_about_a_user_is_refused() -> None:
    world = World(preferences=UnreachablePreferenceStore())
    assert (await refusal(world, TurnRequest(task="Hi.", user_id="ann"))).reason is Reason.DATABASE_UNAVAILABLE
    assert (await world.events(TurnRequest(task="Hi.")))[-1] == STOP


async def test_when_one_of_two_loads_fails_the_other_is_given_up() -> None:
    sessions = HangingSessionStore(lambda: NOW)
    world = World(agent=ScriptedAgent(*HELLO), sessions=sessions, preferences=UnreachablePreferenceStore())
    error = await refusal(world, TurnRequest(task="Hi.", session_id="s", user_id="ann"))
    assert error.reason is Reason.DATABASE_UNAVAILABLE
    assert sessions.given_up

"""The keys of answers: the same for equal requests, another for any that could be answered differently."""

from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from meshkit.identity import Identity
from services.agent.answer_keys import model_output_key, response_key
from services.agent.conversation import Message, Role, Sampling, Tool, ToolCall
from services.agent.ports import ChatRequest, OutputCaching
from services.agent.request import CacheControl, CacheMode, TurnRequest
from tests.unit.agent.scripted_agent import ScriptedAgent
from tests.unit.agent.world import ACME, HELLO, World

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0}, "b": {"enum": [1, {"c": 2, "d": 3}]}},
}
CALL = ToolCall("call_1", "add", '{"a":1}')
HISTORY = (
    Message(Role.SYSTEM, "Be kind."),
    Message(Role.USER, "One and two?"),
    Message(Role.ASSISTANT, "Hm.", tool_calls=(CALL,)),
    Message(Role.TOOL, "3", tool_call_id="call_1"),
)
REQUEST = TurnRequest(
    task="Add.",
    context={"a": {"b": [1, {"c": 1.5, "d": None}]}, "e": "f"},
    model="small",
    sampling=Sampling(max_tokens=10, temperature=0.5, top_p=0.9, stop=("x", "y"), seed=1),
    tools=(Tool("add", "Adds.", SCHEMA), Tool("send", "Sends.", {}, has_side_effects=True)),
    tool_choice="add",
)
AROUND: dict[str, Any] = {
    "tenant": "acme",
    "agent": "chat/1",
    "system_prompt": "Be brief.",
    "history": HISTORY,
    "preferences": {"language": "de", "tone": {"formal": True, "short": False}},
}


def key_of(request: TurnRequest = REQUEST, **around: Any) -> str:
    return response_key(request, **(AROUND | around))


def with_tool(**changes: Any) -> dict[str, Any]:
    return {"tools": (msgspec.structs.replace(REQUEST.tools[0], **changes), REQUEST.tools[1])}


def with_sampling(**changes: Any) -> dict[str, Any]:
    return {"sampling": msgspec.structs.replace(REQUEST.sampling, **changes)}


def with_message(number: int, **changes: Any) -> dict[str, Any]:
    changed = msgspec.structs.replace(HISTORY[number], **changes)
    return {"history": (*HISTORY[:number], changed, *HISTORY[number + 1 :])}


OTHER_REQUESTS: dict[str, dict[str, Any]] = {
    "task": {"task": "Add!"},
    "task with a space": {"task": "Add. "},
    "a value of the context": {"context": {"a": {"b": [1, {"c": 1.5, "d": 0}]}, "e": "f"}},
    "a name in the context": {"context": {"a": {"b": [1, {"c": 1.5, "D": None}]}, "e": "f"}},
    "the order of a list in the context": {"context": {"a": {"b": [{"c": 1.5, "d": None}, 1]}, "e": "f"}},
    "no context": {"context": {}},
    "another model": {"model": "large"},
    "the default model": {"model": ""},
    "max_tokens": with_sampling(max_tokens=11),
    "no max_tokens": with_sampling(max_tokens=None),
    "temperature": with_sampling(temperature=0.0),
    "top_p": with_sampling(top_p=0.91),
    "stop": with_sampling(stop=("xy",)),
    "seed": with_sampling(seed=None),
    "a tool's name": with_tool(name="plus"),
    "a tool's description": with_tool(description="Adds"),
    "a tool's schema": with_tool(parameters=SCHEMA | {"type": "array"}),
    "a tool's side effects": with_tool(has_side_effects=True),
    "one tool less": {"tools": REQUEST.tools[:1]},
    "the order of the tools": {"tools": REQUEST.tools[::-1]},
    "tool_choice": {"tool_choice": "none"},
}
OTHER_SURROUNDINGS: dict[str, dict[str, Any]] = {
    "tenant": {"tenant": "rival"},
    "agent": {"agent": "chess/1"},
    "version of the agent": {"agent": "chat/2"},
    "system prompt": {"system_prompt": "Be kind."},
    "a preference": {"preferences": {"language": "en", "tone": {"formal": True, "short": False}}},
    "a preference within": {"preferences": {"language": "de", "tone": {"formal": True, "short": True}}},
    "no preferences": {"preferences": {}},
    "who spoke": with_message(1, role=Role.ASSISTANT),
    "what was said": with_message(0, content="Be kind"),
    "a call's id": with_message(2, tool_calls=(ToolCall("call_2", "add", '{"a":1}'),)),
    "a call's tool": with_message(2, tool_calls=(ToolCall("call_1", "plus", '{"a":1}'),)),
    "a call's arguments": with_message(2, tool_calls=(ToolCall("call_1", "add", '{"a": 1}'),)),
    "a call less": with_message(2, tool_calls=()),
    "whose result it is": with_message(3, tool_call_id="call_2"),
    "one message less": {"history": HISTORY[1:]},
    "the order of the messages": {"history": (HISTORY[1], HISTORY[0], *HISTORY[2:])},
}
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
json_objects = st.dictionaries(st.text(max_size=5), json_values, max_size=4)


def reordered(value: Any) -> Any:
    """The same JSON, with every object written the other way round."""
    if isinstance(value, dict):
        return {name: reordered(value[name]) for name in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(context=json_objects, schema=json_objects, preferences=json_objects)
def test_equal_requests_have_equal_keys_whatever_the_order_of_their_fields(
    context: dict[str, Any], schema: dict[str, Any], preferences: dict[str, Any]
) -> None:
    one = msgspec.structs.replace(REQUEST, context=context, **with_tool(parameters=schema))
    other = msgspec.structs.replace(REQUEST, context=reordered(context), **with_tool(parameters=reordered(schema)))
    assert key_of(one, preferences=preferences) == key_of(other, preferences=reordered(preferences))


@given(one=json_objects, other=json_objects)
def test_any_other_context_schema_or_preferences_are_another_key(one: dict[str, Any], other: dict[str, Any]) -> None:
    assume(msgspec.json.encode(one, order="sorted") != msgspec.json.encode(other, order="sorted"))
    contexts = [key_of(msgspec.structs.replace(REQUEST, context=value)) for value in (one, other)]
    schemas = [key_of(msgspec.structs.replace(REQUEST, **with_tool(parameters=value))) for value in (one, other)]
    preferences = [key_of(preferences=value) for value in (one, other)]
    assert len({*contexts, *schemas, *preferences}) >= 5, "only REQUEST itself may come twice"
    assert all(len(set(pair)) == 2 for pair in (contexts, schemas, preferences))


@pytest.mark.parametrize("change", OTHER_REQUESTS.values(), ids=OTHER_REQUESTS)
def test_any_part_of_a_request_that_may_change_the_answer_changes_the_key(change: dict[str, Any]) -> None:
    assert key_of(msgspec.structs.replace(REQUEST, **change)) != key_of()


@pytest.mark.parametrize("change", OTHER_SURROUNDINGS.values(), ids=OTHER_SURROUNDINGS)
def test_anything_around_a_request_that_may_change_the_answer_changes_the_key(change: dict[str, Any]) -> None:
    assert key_of(**change) != key_of()


def test_all_these_changes_have_keys_of_their_own() -> None:
    requests = [key_of(msgspec.structs.replace(REQUEST, **change)) for change in OTHER_REQUESTS.values()]
    surroundings = [key_of(**change) for change in OTHER_SURROUNDINGS.values()]
    assert len({key_of(), *requests, *surroundings}) == 1 + len(OTHER_REQUESTS) + len(OTHER_SURROUNDINGS)


def test_ten_thousand_requests_that_differ_in_one_field_have_ten_thousand_keys() -> None:
    by_task = {key_of(msgspec.structs.replace(REQUEST, task=f"Add {number}.")) for number in range(10_000)}
    by_context = {key_of(msgspec.structs.replace(REQUEST, context={"a": {"b": number}})) for number in range(10_000)}
    by_seed = {key_of(msgspec.structs.replace(REQUEST, **with_sampling(seed=number))) for number in range(2, 10_002)}
    assert len(by_task | by_context | by_seed) == 30_000


@pytest.mark.parametrize(
    "change",
    [
        {"cache": CacheControl(mode=CacheMode.REFRESH)},
        {"cache": CacheControl(ttl_seconds=60)},
        {"cache": CacheControl(tags=("a",))},
        {"cache": CacheControl(public=True)},
        {"session_id": "s"},
        {"user_id": "ann"},
    ],
)
def test_how_the_cache_is_used_and_the_names_of_session_and_user_change_no_answer(change: dict[str, Any]) -> None:
    assert key_of(msgspec.structs.replace(REQUEST, **change)) == key_of()


def test_every_field_of_a_request_is_either_in_the_key_or_known_to_change_no_answer() -> None:
    changed = {name for change in OTHER_REQUESTS.values() for name in change}
    known = {"cache", "session_id", "user_id", "history"}
    assert changed | known == set(TurnRequest.__struct_fields__)
    assert {name for name in Sampling.__struct_fields__ if key_of(with_one(name)) == key_of(with_one(""))} == set()


def with_one(parameter: str) -> TurnRequest:
    """A request with one parameter of sampling set, or none."""
    values: dict[str, Any] = {"max_tokens": 1, "temperature": 1.0, "top_p": 1.0, "stop": ("1",), "seed": 1}
    return TurnRequest(task="Add.", sampling=Sampling(**{parameter: values[parameter]} if parameter else {}))


def test_text_does_not_slip_from_one_part_into_the_next() -> None:
    assert key_of(system_prompt="ab", tenant="c") != key_of(system_prompt="a", tenant="bc")
    one = (Message(Role.USER, "a"), Message(Role.USER, "b"))
    assert key_of(history=one) != key_of(history=(Message(Role.USER, 'a"},{"role":"user","content":"b'),))
    assert key_of(agent="a/b") != key_of(agent="a")


OUTPUT = ChatRequest(model="small", messages=HISTORY, sampling=REQUEST.sampling, tools=REQUEST.tools, tool_choice="add")


@pytest.mark.parametrize(
    "change",
    [
        {"model": "large"},
        {"messages": HISTORY[:3]},
        with_sampling(temperature=0.0),
        with_tool(description="Adds"),
        {"tool_choice": "none"},
    ],
)
def test_all_that_a_model_is_shown_is_in_the_key_of_its_output(change: dict[str, Any]) -> None:
    key = model_output_key(OUTPUT, tenant="acme")
    assert model_output_key(msgspec.structs.replace(OUTPUT, **change), tenant="acme") != key


@pytest.mark.parametrize("parameter", ["temperature", "top_p"])
def test_the_sign_of_a_zero_changes_no_key(parameter: str) -> None:
    plus, minus = (with_sampling(**{parameter: number}) for number in (0.0, -0.0))
    assert key_of(msgspec.structs.replace(REQUEST, **plus)) == key_of(msgspec.structs.replace(REQUEST, **minus))
    outputs = {model_output_key(msgspec.structs.replace(OUTPUT, **change), tenant="acme") for change in (plus, minus)}
    assert len(outputs) == 1


def test_a_models_output_is_its_tenants_whichever_answer_it_is_a_part_of() -> None:
    kept = OutputCaching(tenant="acme", part_of="k", generation=5, refresh=True, ttl_seconds=60, tags=("a",))
    key = model_output_key(OUTPUT, tenant="acme")
    assert model_output_key(msgspec.structs.replace(OUTPUT, output_caching=kept), tenant="acme") == key
    assert model_output_key(OUTPUT, tenant="rival") != key


def test_a_models_output_and_an_answer_never_have_the_same_key() -> None:
    plain = TurnRequest(task="", model="small")
    answer = response_key(plain, tenant="acme", agent="", system_prompt="", history=(), preferences={})
    assert model_output_key(ChatRequest(model="small", messages=()), tenant="acme") != answer


async def key_in(world: World, caller: Identity = ACME) -> str:
    return await world.key_of(TurnRequest(task="Say hello."), caller)


async def test_tenant_agent_and_instructions_of_a_turn_are_in_its_key() -> None:
    keys = {
        await key_in(World()),
        await key_in(World(), msgspec.structs.replace(ACME, tenant="rival")),
        await key_in(World(agent=ScriptedAgent(*HELLO, version="2"))),
        await key_in(World(system_prompt="Be kind.")),
    }
    assert len(keys) == 4


async def test_key_and_tier_of_a_caller_do_not_change_the_key() -> None:
    colleague = msgspec.structs.replace(ACME, key_id="key_2", tier="free")
    assert await key_in(World(), colleague) == await key_in(World())


async def test_the_history_of_a_turn_is_in_its_key_wherever_it_comes_from() -> None:
    world = World()
    alone = await world.key_of(TurnRequest(task="Again."))
    await world.sessions.append("acme", "s", epoch=0, messages=HISTORY)
    in_session = await world.key_of(TurnRequest(task="Again.", session_id="s"))
    assert in_session != alone
    assert await world.key_of(TurnRequest(task="Again.", history=HISTORY)) == in_session

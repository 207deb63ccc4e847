"""Between Shoal's own JSON and the agent's proto."""

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshkit.errors import Reason, ShoalError
from meshkit.json_struct import from_struct
from services.gateway import translate
from services.gateway.shapes import CacheMode, CacheShape, TaskAnswer, TaskBody, TaskQuery, ToolShape
from shoal.agent.v1 import agent_pb2 as pb

EXACT = 2**53

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-EXACT, EXACT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def refused(values: dict[str, Any]) -> str:
    with pytest.raises(ShoalError) as raised:
        translate.struct("context", values)
    assert (raised.value.reason, raised.value.field) == (Reason.FIELD_INVALID, "context")
    return raised.value.message


def test_a_task_alone_asks_for_nothing_else() -> None:
    request = translate.execute_request(TaskBody(task="Hello"))
    assert request == pb.ExecuteRequest(
        task="Hello",
        context=translate.struct("context", {}),
        sampling=pb.SamplingParameters(),
        cache=pb.CacheControl(mode=pb.CACHE_MODE_DEFAULT),
    )


def test_every_field_of_a_task_arrives() -> None:
    body = TaskBody(
        task="Hällo",
        context={"a": [1, {"b": None}]},
        session_id="s",
        user_id="u",
        model="m",
        max_tokens=5,
        temperature=0.0,
        top_p=0.5,
        stop=["x"],
        seed=-7,
        tools=[ToolShape(name="f", description="d", parameters={"type": "object"}, has_side_effects=True)],
        tool_choice="f",
        cache=CacheShape(mode="refresh", ttl_seconds=60, tags=["a", "b"], public=True),
    )
    request = translate.execute_request(body)
    assert request == pb.ExecuteRequest(
        task="Hällo",
        context=translate.struct("context", {"a": [1, {"b": None}]}),
        session_id="s",
        user_id="u",
        model="m",
        sampling=pb.SamplingParameters(max_tokens=5, temperature=0.0, top_p=0.5, stop=["x"], seed=-7),
        tools=[
            pb.Tool(
                name="f",
                description="d",
                parameters=translate.struct("tools", {"type": "object"}),
                has_side_effects=True,
            )
        ],
        tool_choice="f",
        cache=pb.CacheControl(mode=pb.CACHE_MODE_REFRESH, ttl_seconds=60, tags=["a", "b"], public=True),
    )
    assert request.sampling.HasField("temperature")


def test_a_lifetime_that_is_not_given_is_left_to_the_cache() -> None:
    assert not translate.execute_request(TaskBody(task="Hello")).cache.HasField("ttl_seconds")


def test_a_query_asks_for_the_same_turn_as_a_body() -> None:
    query = TaskQuery(
        task="Hällo",
        session_id="s",
        stream=True,
        max_tokens=5,
        cache_mode="only",
        cache_ttl_seconds=60,
        cache_tags=" a,,b ",
        cache_public=True,
    )
    assert translate.task_body(query) == TaskBody(
        task="Hällo",
        session_id="s",
        stream=True,
        max_tokens=5,
        cache=CacheShape(mode="only", ttl_seconds=60, tags=["a", "b"], public=True),
    )
    assert translate.task_body(TaskQuery(task="a")) == TaskBody(task="a")


def test_sampling_that_is_not_given_is_left_to_the_model() -> None:
    sampling = translate.execute_request(TaskBody(task="Hello")).sampling
    assert not [name for name in ("max_tokens", "temperature", "top_p", "seed") if sampling.HasField(name)]


@given(values=st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_json_is_the_same_after_the_proto(values: dict[str, Any]) -> None:
    sent = pb.ExecuteRequest(context=translate.struct("context", values)).SerializeToString()
    assert from_struct(pb.ExecuteRequest.FromString(sent).context, field="context") == values


@pytest.mark.parametrize("number", [EXACT + 1, -EXACT - 1, 2**64, 10**400])
@pytest.mark.parametrize("place", ["top", "list", "object"])
def test_an_integer_that_would_lose_digits_is_refused(number: int, place: str) -> None:
    places: dict[str, dict[str, Any]] = {
        "top": {"a": number},
        "list": {"a": [[number]]},
        "object": {"a": {"b": number}},
    }
    assert "2^53" in refused(places[place])


@pytest.mark.parametrize("number", [EXACT, -EXACT, 1e300, 0.1, True])
def test_a_number_that_a_double_holds_is_taken(number: float) -> None:
    assert from_struct(translate.struct("context", {"a": number}), field="context") == {"a": number}


def nested(levels: int, *, lists: bool) -> dict[str, Any]:
    """An object with that many levels, itself the first."""
    value: Any = [] if lists else {}
    for _ in range(levels - 2):
        value = [value] if lists else {"a": value}
    return {"a": value}


@pytest.mark.parametrize("lists", [False, True])
def test_what_is_nested_as_deep_as_is_allowed_can_be_parsed_wherever_it_stands(lists: bool) -> None:
    deepest = translate.struct("context", nested(30, lists=lists))
    for request in (pb.ExecuteRequest(context=deepest), pb.ExecuteRequest(tools=[pb.Tool(parameters=deepest)])):
        sent = pb.ExecuteStreamRequest(turn=request).SerializeToString()
        assert pb.ExecuteStreamRequest.FromString(sent).turn == request


@pytest.mark.parametrize("levels", [31, 100, 10_000])
@pytest.mark.parametrize("lists", [False, True])
def test_what_is_nested_deeper_is_refused(levels: int, lists: bool) -> None:
    assert "30 levels" in refused(nested(levels, lists=lists))


def test_values_without_end_are_refused() -> None:
    translate.struct("context", {"a": [0] * 19_999})
    assert "20,000" in refused({"a": [0] * 20_000})
    assert "20,000" in refused({"a": [[0] * 200] * 200})


def test_every_enum_value_has_a_word() -> None:
    finish = {translate.finish_reason(value) for value in pb.FinishReason.values() if value}
    caches = {translate.cache_report(pb.CacheReport(status=value)).status for value in pb.CacheStatus.values() if value}
    roles = {translate.message(pb.Message(role=value)).role for value in pb.Role.values() if value}
    assert finish == {"stop", "length", "tool_calls", "content_filter"}
    assert caches == {"hit", "miss", "bypass"}
    assert roles == {"system", "user", "assistant", "tool"}


def test_every_cache_mode_of_the_proto_can_be_asked_for() -> None:
    modes = {
        translate.execute_request(TaskBody(task="", cache=CacheShape(mode=mode))).cache.mode
        for mode in get_args(CacheMode)
    }
    assert modes == set(pb.CacheMode.values()) - {pb.CACHE_MODE_UNSPECIFIED}


def test_a_complete_answer() -> None:
    response = pb.ExecuteResponse(
        id="turn_1",
        output="Hi",
        finish_reason=pb.FINISH_REASON_TOOL_CALLS,
        model="m",
        why="the default model",
        tool_calls=[pb.ToolCall(id="c1", name="f", arguments="{}")],
        cache=pb.CacheReport(
            status=pb.CACHE_STATUS_HIT,
            level="l2",
            age_seconds=0.0,
            key="0" * 64,
            ttl_seconds=60.5,
            stale_seconds=5,
            stale=True,
        ),
        usage=pb.Usage(input_tokens=2**60, output_tokens=3, cost_usd=0.25, from_cache=True),
        session_id="s",
        replica="agent-1",
    )
    response.created.FromNanoseconds(1_700_000_000_500_000_000)
    answer = translate.task_answer(response)
    assert msgspec.to_builtins(answer) == {
        "id": "turn_1",
        "output": "Hi",
        "finish_reason": "tool_calls",
        "model": "m",
        "why": "the default model",
        "tool_calls": [{"id": "c1", "name": "f", "arguments": "{}"}],
        "cache": {
            "status": "hit",
            "level": "l2",
            "age_seconds": 0.0,
            "key": "0" * 64,
            "ttl_seconds": 60.5,
            "stale_seconds": 5.0,
            "stale": True,
        },
        "usage": {"input_tokens": 2**60, "output_tokens": 3, "cost_usd": 0.25, "from_cache": True},
        "session_id": "s",
        "replica": "agent-1",
        "created": 1_700_000_000.5,
    }
    assert msgspec.json.decode(msgspec.json.encode(answer), type=TaskAnswer) == answer


def test_what_an_answer_does_not_have_is_null() -> None:
    response = pb.ExecuteResponse(
        finish_reason=pb.FINISH_REASON_STOP, cache=pb.CacheReport(status=pb.CACHE_STATUS_MISS)
    )
    answer = translate.task_answer(response)
    assert (answer.session_id, answer.cache.level, answer.cache.age_seconds) == (None, None, None)
    assert (answer.cache.key, answer.cache.ttl_seconds, answer.cache.stale_seconds) == (None, None, None)
    assert (answer.cache.stale, answer.usage.from_cache) == (False, False)


def test_an_answer_that_is_never_given_out_stale_says_so() -> None:
    assert translate.cache_report(pb.CacheReport(status=pb.CACHE_STATUS_MISS, ttl_seconds=60)).stale_seconds == 0


def test_every_event_of_the_proto_has_its_data() -> None:
    kinds = [field.name for field in pb.ExecuteStreamResponse.DESCRIPTOR.oneofs_by_name["event"].fields]
    events = {
        "started": pb.ExecuteStreamResponse(
            started=pb.Started(
                id="t",
                stream_id="st",
                model="m",
                why="w",
                replica="r",
                cache=pb.CacheReport(status=pb.CACHE_STATUS_MISS, key="0" * 64),
            )
        ),
        "delta": pb.ExecuteStreamResponse(delta=pb.Delta(text="Hi")),
        "tool_call": pb.ExecuteStreamResponse(tool_call=pb.ToolCall(id="c", name="f", arguments="{}")),
        "tool_result": pb.ExecuteStreamResponse(
            tool_result=pb.ToolResult(id="c", name="f", content="4", has_side_effects=True)
        ),
        "usage": pb.ExecuteStreamResponse(
            usage=pb.Usage(input_tokens=1, output_tokens=2, cost_usd=0.5, from_cache=True)
        ),
        "completed": pb.ExecuteStreamResponse(completed=pb.Completed(finish_reason=pb.FINISH_REASON_STOP)),
    }
    assert set(events) == set(kinds) - {"heartbeat", "group"}
    assert {kind: msgspec.to_builtins(translate.event_data(event)) for kind, event in events.items()} == {
        "started": {
            "type": "started",
            "id": "t",
            "stream_id": "st",
            "model": "m",
            "why": "w",
            "cache": {
                "status": "miss",
                "level": None,
                "age_seconds": None,
                "key": "0" * 64,
                "ttl_seconds": None,
                "stale_seconds": None,
                "stale": False,
            },
            "session_id": None,
            "replica": "r",
            "created": 0.0,
        },
        "delta": {"type": "delta", "text": "Hi"},
        "tool_call": {"type": "tool_call", "id": "c", "name": "f", "arguments": "{}"},
        "tool_result": {"type": "tool_result", "id": "c", "name": "f", "content": "4"},
        "usage": {"type": "usage", "input_tokens": 1, "output_tokens": 2, "cost_usd": 0.5, "from_cache": True},
        "completed": {"type": "completed", "finish_reason": "stop"},
    }


def test_a_message_shows_only_what_it_has() -> None:
    plain = translate.message(pb.Message(role=pb.ROLE_USER, content="Hi"))
    assert msgspec.to_builtins(plain) == {"role": "user", "content": "Hi"}
    tool = translate.message(pb.Message(role=pb.ROLE_TOOL, content="4", tool_call_id="c"))
    assert msgspec.to_builtins(tool) == {"role": "tool", "content": "4", "tool_call_id": "c"}

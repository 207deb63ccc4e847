"""Between the protos and the core, in both directions."""

import math
from collections.abc import Callable, Collection
from typing import Any

import pytest
from google.protobuf import struct_pb2
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from meshkit.errors import ShoalError
from meshkit.json_struct import from_struct, to_struct
from services.agent import translate
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
    ToolResult,
    Usage,
)
from services.agent.ports import Lifetime
from services.agent.report import CacheReport, CacheStatus, Started
from services.agent.request import CacheControl, CacheMode, TurnRequest
from shoal.agent.v1 import agent_pb2 as pb

KEY = "0123456789abcdef" * 4
HIT = CacheReport(
    status=CacheStatus.HIT,
    key=KEY,
    level="l2",
    age_seconds=3601.5,
    is_stale=True,
    lifetime=Lifetime(ttl_seconds=3600.0, stale_seconds=60.0),
    public=True,
)
STARTED = Started(
    id="turn_1",
    stream_id="stream_1",
    model="small",
    why="the default model",
    cache=HIT,
    session_id="s",
    created=1_800_000_000.25,
)
NESTED = {"a": 1, "b": [1.5, None, True, "x", {}], "c": {"d": -(2**53)}, "": "", "large": 1e300}


def role_in(number: int) -> Role:
    request = pb.ExecuteRequest(history=[pb.Message(role=pb.Role.ValueType(number))])
    return translate.turn_request(request).history[0].role


def cache_mode_in(number: int) -> CacheMode:
    request = pb.ExecuteRequest(cache=pb.CacheControl(mode=pb.CacheMode.ValueType(number)))
    return translate.turn_request(request).cache.mode


def numbers_of(enum: EnumTypeWrapper) -> set[int]:
    return set(enum.values()) - {0}


def refused_field(request: pb.ExecuteRequest) -> str:
    with pytest.raises(ShoalError) as refused:
        translate.turn_request(request)
    assert refused.value.code == "INVALID_ARGUMENT"
    return refused.value.field


@pytest.mark.parametrize(("enum", "read"), [(pb.Role, role_in), (pb.CacheMode, cache_mode_in)])
def test_every_value_that_a_caller_may_send_is_understood(enum: EnumTypeWrapper, read: Callable[[int], object]) -> None:
    meanings = {enum.Name(number).partition("_")[2].lower(): read(number) for number in numbers_of(enum)}
    assert all(name.endswith(str(meaning)) for name, meaning in meanings.items())


def test_no_cache_mode_is_the_default_one() -> None:
    assert cache_mode_in(pb.CACHE_MODE_UNSPECIFIED) is CacheMode.DEFAULT


@pytest.mark.parametrize(
    ("enum", "members", "write"),
    [
        (pb.Role, Role, lambda role: translate.message_out(Message(role, "")).role),
        (
            pb.CacheStatus,
            CacheStatus,
            lambda status: translate.cache_report(CacheReport(status=status)).status,
        ),
        (
            pb.FinishReason,
            FinishReason,
            lambda reason: translate.stream_response(Completed(reason), sequence=1, replica="").completed.finish_reason,
        ),
    ],
)
def test_every_value_that_we_send_has_its_own_number_and_none_is_left_over(
    enum: EnumTypeWrapper, members: Collection[str], write: Callable[[Any], int]
) -> None:
    assert {write(member) for member in members} == numbers_of(enum)
    assert all(enum.Name(write(member)).lower().endswith(member) for member in members)


def test_every_field_of_a_request_arrives() -> None:
    request = pb.ExecuteRequest(
        task="Add.",
        context=to_struct(NESTED),
        session_id="s",
        user_id="ann",
        model="small",
        sampling=pb.SamplingParameters(max_tokens=1, temperature=0, top_p=0.5, stop=["x"], seed=-1),
        tools=[
            pb.Tool(name="add", description="Adds.", parameters=to_struct({"type": "object"}), has_side_effects=True)
        ],
        tool_choice="add",
        cache=pb.CacheControl(mode=pb.CACHE_MODE_REFRESH, ttl_seconds=60, tags=["b", "a", "b"], public=True),
        history=[
            pb.Message(role=pb.ROLE_ASSISTANT, tool_calls=[pb.ToolCall(id="call_1", name="add", arguments="{}")]),
            pb.Message(role=pb.ROLE_TOOL, content="3", tool_call_id="call_1"),
        ],
    )
    for message in (request, request.cache, request.tools[0]):
        assert {field.name for field, _ in message.ListFields()} == set(message.DESCRIPTOR.fields_by_name)
    assert translate.turn_request(request) == TurnRequest(
        task="Add.",
        context=NESTED,
        session_id="s",
        user_id="ann",
        model="small",
        sampling=Sampling(max_tokens=1, temperature=0.0, top_p=0.5, stop=("x",), seed=-1),
        tools=(Tool("add", "Adds.", {"type": "object"}, has_side_effects=True),),
        tool_choice="add",
        cache=CacheControl(mode=CacheMode.REFRESH, ttl_seconds=60, tags=("b", "a"), public=True),
        history=(
            Message(Role.ASSISTANT, "", tool_calls=(ToolCall("call_1", "add", "{}"),)),
            Message(Role.TOOL, "3", tool_call_id="call_1"),
        ),
    )


def test_what_is_absent_stays_absent() -> None:
    assert translate.turn_request(pb.ExecuteRequest(task="Add.")) == TurnRequest(task="Add.")


@pytest.mark.parametrize("role", [pb.ROLE_UNSPECIFIED, 99])
def test_a_message_of_nobody_is_refused(role: pb.Role.ValueType) -> None:
    assert refused_field(pb.ExecuteRequest(history=[pb.Message(role=role)])) == "history"


def test_a_cache_mode_that_is_none_is_refused() -> None:
    mode = pb.CacheMode.ValueType(99)
    assert refused_field(pb.ExecuteRequest(cache=pb.CacheControl(mode=mode))) == "cache.mode"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_know_are_refused_wherever_they_are(number: float) -> None:
    inside = to_struct({"a": [{"b": number}]})
    assert refused_field(pb.ExecuteRequest(context=inside)) == "context"
    assert refused_field(pb.ExecuteRequest(tools=[pb.Tool(name="add", parameters=inside)])) == "tools"


def test_whole_numbers_become_ints_again_and_others_stay() -> None:
    values = from_struct(to_struct(NESTED), field="context")
    assert values == NESTED
    assert [type(values["a"]), type(values["b"][0]), type(values["large"])] == [int, float, float]


def test_a_value_of_no_kind_is_null() -> None:
    assert from_struct(struct_pb2.Struct(fields={"a": struct_pb2.Value()}), field="context") == {"a": None}


def test_a_message_goes_out_with_all_it_has() -> None:
    message = Message(Role.ASSISTANT, "Hm.", tool_calls=(ToolCall("call_1", "add", "{}"),))
    sent = pb.Message(
        role=pb.ROLE_ASSISTANT, content="Hm.", tool_calls=[pb.ToolCall(id="call_1", name="add", arguments="{}")]
    )
    assert translate.message_out(message) == sent


def test_started_goes_out_with_all_it_has() -> None:
    started = translate.stream_response(STARTED, sequence=1, replica="agent-1").started
    assert {field.name for field, _ in started.ListFields()} == set(pb.Started.DESCRIPTOR.fields_by_name)
    assert {field.name for field, _ in started.cache.ListFields()} == set(pb.CacheReport.DESCRIPTOR.fields_by_name)
    assert started.cache == pb.CacheReport(
        status=pb.CACHE_STATUS_HIT,
        level="l2",
        age_seconds=3601.5,
        key=KEY,
        ttl_seconds=3600,
        stale_seconds=60,
        stale=True,
        public=True,
    )
    assert (started.replica, started.created.ToNanoseconds()) == ("agent-1", 1_800_000_000_250_000_000)


def test_every_event_goes_out_as_its_own_kind() -> None:
    events: list[Started | AnswerEvent] = [
        STARTED,
        Delta("a"),
        ToolCall("c", "add", "{}"),
        ToolResult("c", "search", "found", has_side_effects=True),
        Usage(1, 2, 0.5, from_cache=True),
        Completed(FinishReason.STOP),
    ]
    kinds = [translate.stream_response(event, sequence=7, replica="").WhichOneof("event") for event in events]
    assert kinds == ["started", "delta", "tool_call", "tool_result", "usage", "completed"]
    assert translate.stream_response(events[3], sequence=7, replica="").tool_result == pb.ToolResult(
        id="c", name="search", content="found", has_side_effects=True
    )
    assert translate.stream_response(events[4], sequence=7, replica="") == pb.ExecuteStreamResponse(
        sequence=7, usage=pb.Usage(input_tokens=1, output_tokens=2, cost_usd=0.5, from_cache=True)
    )


def test_a_whole_turn_in_one_message_has_all_its_events() -> None:
    call = ToolCall("call_1", "add", "{}")
    events: list[AnswerEvent] = [Delta("Hel"), Delta("lo"), call, Usage(1, 2, 0.5), Completed(FinishReason.TOOL_CALLS)]
    kept = CacheReport(status=CacheStatus.MISS, key=KEY, lifetime=Lifetime(ttl_seconds=60))
    response = translate.execute_response(STARTED, events, cache=kept, replica="agent-1")
    assert {field.name for field, _ in response.ListFields()} == set(pb.ExecuteResponse.DESCRIPTOR.fields_by_name)
    assert response.cache == pb.CacheReport(status=pb.CACHE_STATUS_MISS, key=KEY, ttl_seconds=60)
    assert response.output == "Hello"
    assert list(response.tool_calls) == [pb.ToolCall(id="call_1", name="add", arguments="{}")]
    assert response.usage.output_tokens == 2
    assert response.finish_reason == pb.FINISH_REASON_TOOL_CALLS


def numbered(*texts: str) -> list[pb.ExecuteStreamResponse]:
    return [
        translate.stream_response(Delta(text), sequence=number, replica="agent-1")
        for number, text in enumerate(texts, 1)
    ]


def test_a_group_has_its_events_as_they_were_and_the_number_of_the_last() -> None:
    messages = numbered("a", "b", "c")
    [grouped] = translate.in_groups(messages, max_bytes=1000)
    assert (list(grouped.group.events), grouped.sequence) == (messages, 3)


def test_a_single_event_is_no_group() -> None:
    messages = numbered("a")
    assert list(translate.in_groups(messages, max_bytes=1000)) == messages
    assert list(translate.in_groups([], max_bytes=1000)) == []


def test_groups_are_bounded_and_an_event_may_have_more_than_that_alone() -> None:
    messages = numbered("a", "b", "x" * 2000, "c", "d")
    first, large, last = translate.in_groups(messages, max_bytes=1000)
    assert ([first.sequence, large, last.sequence]) == [2, messages[2], 5]

"""Which turns are refused, and which field is named."""

import math
from typing import Any

import pytest

from meshkit.cache_control import MAX_TAGS
from meshkit.errors import Reason, ShoalError
from services.agent.conversation import Message, Role, Sampling, Tool, ToolCall
from services.agent.request import MAX_STOPS, MAX_TOOLS, CacheControl, TurnRequest, check, check_id

TASK_MAX_BYTES = 100
CALL = ToolCall("call_1", "add", "{}")
RESULT = Message(Role.TOOL, "3", tool_call_id="call_1")
ASKED = Message(Role.ASSISTANT, "", tool_calls=(CALL,))


def tools(*names: str) -> tuple[Tool, ...]:
    return tuple(Tool(name, "", {}) for name in names)


GOOD = {
    "the least": TurnRequest(task="a"),
    "all limits reached": TurnRequest(
        task="x" * TASK_MAX_BYTES,
        session_id="A.z_0:-" + "s" * 121,
        user_id="u",
        sampling=Sampling(max_tokens=1, temperature=2, top_p=1, stop=("a", "b", "c", "d"), seed=-1),
        tools=tools(*(f"tool_{number}" for number in range(MAX_TOOLS - 1)), "n" * 64),
        tool_choice="tool_0",
        cache=CacheControl(ttl_seconds=7 * 24 * 3600, tags=("A.z_0:-" + "t" * 57, *("t",) * (MAX_TAGS - 1))),
    ),
    "the shortest time to live": TurnRequest(task="a", cache=CacheControl(ttl_seconds=1)),
    "the coldest sampling": TurnRequest(task="a", sampling=Sampling(temperature=0, top_p=0.001)),
    "a new session": TurnRequest(task="a", session_id="new"),
    "history": TurnRequest(task="a", history=(Message(Role.SYSTEM, "s"), Message(Role.USER, "u"))),
    "the result of a tool instead of a task": TurnRequest(task="", history=(ASKED, RESULT)),
    "no tool required": TurnRequest(task="a", tool_choice="none"),
}


def bad(field: str, reason: Reason = Reason.FIELD_INVALID, **changes: Any) -> tuple[TurnRequest, Reason, str]:
    return TurnRequest(**{"task": "a", **changes}), reason, field


BAD = {
    "no task": bad("task", Reason.FIELD_REQUIRED, task=""),
    "a blank task": bad("task", Reason.FIELD_REQUIRED, task=" \n\t"),
    "no task after a call": bad("task", Reason.FIELD_REQUIRED, task="", history=(ASKED, RESULT, ASKED)),
    "a long task": bad("task", Reason.TASK_TOO_LONG, task="x" * (TASK_MAX_BYTES + 1)),
    "a task long in bytes": bad("task", Reason.TASK_TOO_LONG, task="\u00e4" * 51),
    "NUL": bad("task", task="a\0b"),
    "half a character": bad("task", task="a\ud83d"),
    "the other half": bad("task", task="\udfffa"),
    "a session id with a space": bad("session_id", session_id="a b"),
    "a session id with a newline": bad("session_id", session_id="a\n"),
    "a session id in another script": bad("session_id", session_id="\u0661"),
    "a long session id": bad("session_id", session_id="s" * 129),
    "a user id that is a path": bad("user_id", user_id="../x"),
    "session and history": bad("history", session_id="s", history=(Message(Role.USER, "u"),)),
    "NUL in a message": bad("history", history=(Message(Role.USER, "u"), Message(Role.ASSISTANT, "a\0b"))),
    "a result without its call": bad("history", history=(RESULT,)),
    "a result before its call": bad("history", history=(RESULT, ASKED)),
    "a result of no call": bad("history", history=(ASKED, Message(Role.TOOL, "3"))),
    "calls by the user": bad("history", history=(Message(Role.USER, "u", tool_calls=(CALL,)),)),
    "no tokens": bad("max_tokens", sampling=Sampling(max_tokens=0)),
    "frozen": bad("temperature", sampling=Sampling(temperature=-0.1)),
    "boiling": bad("temperature", sampling=Sampling(temperature=2.1)),
    "no temperature": bad("temperature", sampling=Sampling(temperature=math.nan)),
    "an empty nucleus": bad("top_p", sampling=Sampling(top_p=0)),
    "too large a nucleus": bad("top_p", sampling=Sampling(top_p=1.1)),
    "many stops": bad("stop", sampling=Sampling(stop=("x",) * (MAX_STOPS + 1))),
    "an empty stop": bad("stop", sampling=Sampling(stop=("x", ""))),
    "many tools": bad("tools", tools=tools(*(f"tool_{number}" for number in range(MAX_TOOLS + 1)))),
    "a tool without a name": bad("tools", tools=tools("")),
    "a tool with a strange name": bad("tools", tools=tools("a.b")),
    "a tool with a long name": bad("tools", tools=tools("n" * 65)),
    "tools of one name": bad("tools", tools=tools("add", "add")),
    "a large context": bad("context", context={"a": "x" * TASK_MAX_BYTES}),
    "a choice without tools": bad("tool_choice", tool_choice="required"),
    "no time to live": bad("cache.ttl_seconds", cache=CacheControl(ttl_seconds=0)),
    "more than a week to live": bad("cache.ttl_seconds", cache=CacheControl(ttl_seconds=7 * 24 * 3600 + 1)),
    "many tags": bad("cache.tags", cache=CacheControl(tags=("t",) * (MAX_TAGS + 1))),
    "an empty tag": bad("cache.tags", cache=CacheControl(tags=("",))),
    "a long tag": bad("cache.tags", cache=CacheControl(tags=("t" * 65,))),
    "a tag of two words": bad("cache.tags", cache=CacheControl(tags=("a b",))),
    "a tag of another tenant": bad("cache.tags", cache=CacheControl(tags=("rival/tag/a",))),
    "a tag with a newline": bad("cache.tags", cache=CacheControl(tags=("a\n",))),
    "another tool's choice": bad("tool_choice", tools=tools("add"), tool_choice="subtract"),
}


@pytest.mark.parametrize("request_", GOOD.values(), ids=GOOD)
def test_a_turn_within_the_limits_is_taken(request_: TurnRequest) -> None:
    check(request_, task_max_bytes=TASK_MAX_BYTES)


@pytest.mark.parametrize(("request_", "reason", "field"), BAD.values(), ids=BAD)
def test_a_turn_that_cannot_be_served_is_refused_by_the_name_of_its_field(
    request_: TurnRequest, reason: Reason, field: str
) -> None:
    with pytest.raises(ShoalError) as refused:
        check(request_, task_max_bytes=TASK_MAX_BYTES)
    assert (refused.value.reason, refused.value.field) == (reason, field)
    assert len(refused.value.message) < 200


def test_no_id_is_no_bad_id() -> None:
    check_id("user_id", "")

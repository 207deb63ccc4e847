"""Scripts: the bytes of a call and when they are due."""

from typing import Any

import msgspec
import pytest

from load.simulated_model.answer import Answer, ToolCall, call_tools, repeat_words
from load.simulated_model.completion import DONE, Head
from load.simulated_model.faults import Cut, Fault, Garble, Hang, Refuse, Stall
from load.simulated_model.plan import Plan
from load.simulated_model.request import ChatRequest, Message, StreamOptions
from load.simulated_model.script import Ending, Script, write_script

THREE_WORDS = repeat_words("one two three", 3, None)


def _script(
    answer: Answer = THREE_WORDS, *, stream: bool, fault: Fault | None = None, include_usage: bool = False
) -> Script:
    request = ChatRequest(
        model="m",
        messages=[Message("user", "one two three four")],
        stream=stream,
        stream_options=StreamOptions(include_usage),
    )
    return write_script(request, Plan(answer, fault, first_token=2.0, interval=0.5), Head("id-1", 1_700_000_000, "m"))


def _chunks(events: bytes) -> list[dict[str, Any]]:
    lines = events.removesuffix(DONE).decode().strip().split("\n\n")
    return [msgspec.json.decode(line.removeprefix("data: ")) for line in lines]


def test_a_plain_answer_is_due_when_its_last_token_would_be() -> None:
    script = _script(stream=False)
    assert (script.first, len(script.events), script.streamed) == (3.0, 1, False)
    completion = msgspec.json.decode(script.events[0])
    assert completion["object"] == "chat.completion"
    assert completion["choices"][0]["message"] == {"role": "assistant", "content": "one two three"}
    assert completion["choices"][0]["finish_reason"] == "stop"
    assert completion["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}


def test_a_stream_has_an_event_per_token_and_ends_with_done() -> None:
    script = _script(stream=True)
    assert (script.first, script.interval, len(script.events), script.ending) == (2.0, 0.5, 3, Ending.FINISH)
    assert b"".join(script.events).endswith(DONE)
    chunks = _chunks(b"".join(script.events))
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"content": "one"},
        {"content": " two"},
        {"content": " three"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 4 + ["stop"]
    assert {chunk["id"] for chunk in chunks} == {"id-1"}
    assert not any("usage" in chunk for chunk in chunks)


def test_the_usage_comes_last_and_only_to_those_who_asked() -> None:
    *chunks, last = _chunks(b"".join(_script(stream=True, include_usage=True).events))
    assert [chunk["usage"] for chunk in chunks] == [None] * 5
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}


def test_streamed_tool_calls_come_name_first_and_then_in_pieces() -> None:
    answer = call_tools((ToolCall("a", '{"x": 1, "y": 2}'), ToolCall("b", "{}")))
    chunks = _chunks(b"".join(_script(answer, stream=True).events))
    parts = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in chunks[1:-1]]
    assert [(part["index"], part["function"]) for part in parts] == [
        (0, {"arguments": "", "name": "a"}),
        (0, {"arguments": '{"x": 1,'}),
        (0, {"arguments": ' "y": 2}'}),
        (1, {"arguments": "", "name": "b"}),
        (1, {"arguments": "{}"}),
    ]
    assert [part.get("id") for part in parts] == ["call-id-1-0", None, None, "call-id-1-1", None]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_plain_tool_calls_are_whole() -> None:
    answer = call_tools((ToolCall("a", '{"x": 1, "y": 2}'),))
    message = msgspec.json.decode(_script(answer, stream=False).events[0])["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "call-id-1-0", "type": "function", "function": {"name": "a", "arguments": '{"x": 1, "y": 2}'}}
    ]


@pytest.mark.parametrize(("fault", "ending"), [(Stall(2), Ending.STALL), (Cut(2), Ending.CUT)])
def test_a_stream_that_stops_short_sends_just_the_tokens_before(fault: Fault, ending: Ending) -> None:
    script = _script(stream=True, fault=fault)
    assert script.ending is ending
    deltas = [chunk["choices"][0]["delta"] for chunk in _chunks(b"".join(script.events))]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "one"}, {"content": " two"}]


def test_a_stream_that_stops_before_its_first_token_has_begun_nevertheless() -> None:
    script = _script(stream=True, fault=Stall(0))
    assert [chunk["choices"][0]["delta"]["content"] for chunk in _chunks(b"".join(script.events))] == [""]


@pytest.mark.parametrize(("fault", "ending"), [(Stall(2), Ending.STALL), (Cut(2), Ending.CUT)])
def test_a_plain_answer_that_stops_short_sends_nothing(fault: Fault, ending: Ending) -> None:
    script = _script(stream=False, fault=fault)
    assert (script.events, script.first, script.ending) == ((), 2.5, ending)


@pytest.mark.parametrize("stream", [False, True])
def test_a_hang_sends_nothing(stream: bool) -> None:
    assert _script(stream=stream, fault=Hang()) == Script((), ending=Ending.STALL)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "kind", "retry_after"),
    [(400, "invalid_request_error", None), (429, "rate_limit_error", 1), (503, "server_error", None)],
)
def test_a_refusal_is_openais_error_after_the_latency(
    stream: bool, status: int, kind: str, retry_after: int | None
) -> None:
    script = _script(stream=stream, fault=Refuse(status))
    assert (script.status, script.first, script.streamed, script.retry_after) == (status, 2.0, False, retry_after)
    assert msgspec.json.decode(script.events[0])["error"]["type"] == kind


def test_garbage_in_a_plain_answer_is_not_json() -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(_script(stream=False, fault=Garble()).events[0])


def test_garbage_in_a_stream_is_a_broken_event_after_the_first_token() -> None:
    events = b"".join(_script(stream=True, fault=Garble()).events)
    *good, broken = events.strip().split(b"\n\n")
    assert len(good) == 2
    assert broken.startswith(b"data: ")
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(broken.removeprefix(b"data: "))

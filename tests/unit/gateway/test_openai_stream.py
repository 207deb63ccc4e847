"""A turn's events as OpenAI's chunks."""

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from services.gateway.openai_stream import ChunkWriter
from shoal.agent.v1 import agent_pb2 as pb

Event = pb.ExecuteStreamResponse

STARTED = Event(started=pb.Started(id="turn_1", model="m", created=Timestamp(seconds=1_700_000_000)))
COMMON = {"id": "chatcmpl-turn_1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m"}


def completed(reason: pb.FinishReason.ValueType = pb.FINISH_REASON_STOP) -> Event:
    return Event(completed=pb.Completed(finish_reason=reason))


def chunks(*events: Event, include_usage: bool = False) -> list[dict[str, Any]]:
    writer = ChunkWriter(include_usage=include_usage)
    return [chunk for event in (STARTED, *events) for chunk in writer.chunks(event)]


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return COMMON | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}


def test_a_text_comes_in_pieces_between_the_role_and_the_end() -> None:
    assert chunks(Event(delta=pb.Delta(text="Hel")), Event(delta=pb.Delta(text="lo")), completed()) == [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
    ]


def test_tool_calls_are_counted() -> None:
    calls = [Event(tool_call=pb.ToolCall(id=f"c{number}", name="f", arguments="{}")) for number in (1, 2)]
    written = chunks(*calls, completed(pb.FINISH_REASON_TOOL_CALLS))
    assert [piece["choices"][0]["delta"].get("tool_calls") for piece in written[1:3]] == [
        [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        [{"index": 1, "id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    ]
    assert written[3] == chunk({}, "tool_calls")


def test_usage_comes_last_and_only_if_it_was_asked_for() -> None:
    usage = Event(usage=pb.Usage(input_tokens=2, output_tokens=3))
    assert chunks(usage, completed())[-1] == chunk({}, "stop")
    assert chunks(usage, completed(), include_usage=True)[-2:] == [
        chunk({}, "stop"),
        COMMON | {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}},
    ]


def test_a_stream_tells_too_that_its_prompt_was_cached() -> None:
    usage = Event(usage=pb.Usage(input_tokens=2, output_tokens=3, from_cache=True))
    told = chunks(usage, completed(), include_usage=True)[-1]["usage"]
    assert told["prompt_tokens_details"] == {"cached_tokens": 2}


def test_a_turn_without_usage_says_none() -> None:
    assert chunks(completed(), include_usage=True)[-1] == chunk({}, "stop")


def test_what_a_tool_of_the_agents_gave_back_is_no_chunk() -> None:
    assert chunks(Event(tool_result=pb.ToolResult(id="c1", name="f", content="4"))) == chunks()


def test_a_heartbeat_is_no_chunk() -> None:
    assert chunks(Event(heartbeat=pb.Heartbeat())) == chunks()

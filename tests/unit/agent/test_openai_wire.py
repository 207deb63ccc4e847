"""OpenAI's format: the body that is sent, and the stream that comes back."""

import msgspec
import pytest

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
    Usage,
)
from services.agent.metering import MOST_TOKENS
from services.agent.openai_wire import Chunk, Completion, EventData, StreamReader, chat_body, error_message, events_of
from services.agent.ports import ChatRequest

USER = Message(Role.USER, "Hi.")


def body_of(request: ChatRequest) -> dict[str, object]:
    body = msgspec.json.decode(chat_body(request), type=dict[str, object])
    assert (body.pop("stream"), body.pop("stream_options")) == (True, {"include_usage": True})
    return body


def read(*chunks: str) -> list[AnswerEvent]:
    reader = StreamReader()
    decoder = msgspec.json.Decoder(Chunk)
    deltas = [event for chunk in chunks for event in reader.read(decoder.decode(chunk))]
    return [*deltas, *reader.finish()]


def text(content: str) -> str:
    return msgspec.json.encode({"choices": [{"delta": {"content": content}}]}).decode()


def call(index: int, *, function: dict[str, str], call_id: str | None = None) -> str:
    part = {"index": index, "id": call_id, "type": "function", "function": function}
    return msgspec.json.encode({"choices": [{"delta": {"tool_calls": [part]}}]}).decode()


def finish(reason: str) -> str:
    return msgspec.json.encode({"choices": [{"delta": {}, "finish_reason": reason}]}).decode()


def test_what_is_left_out_is_left_to_the_model() -> None:
    body = body_of(ChatRequest(model="small", messages=(USER,)))
    assert body == {"model": "small", "messages": [{"role": "user", "content": "Hi."}]}


def test_sampling_is_handed_on_as_it_is_though_it_be_zero() -> None:
    sampling = Sampling(max_tokens=5, temperature=0.0, top_p=0.5, stop=("a", "b"), seed=0)
    body = body_of(ChatRequest(model="small", messages=(USER,), sampling=sampling))
    expected = {"max_tokens": 5, "temperature": 0.0, "top_p": 0.5, "stop": ["a", "b"], "seed": 0}
    assert {name: body[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("choice", "wire"),
    [
        ("", "auto"),
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ("add", {"type": "function", "function": {"name": "add"}}),
    ],
)
def test_tools_and_their_choice_are_in_openais_form(choice: str, wire: object) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    request = ChatRequest(
        model="small",
        messages=(USER,),
        tools=(Tool("add", "Adds.", schema, has_side_effects=True),),
        tool_choice=choice,
    )
    function = {"name": "add", "description": "Adds.", "parameters": schema}
    body = body_of(request)
    assert (body["tools"], body["tool_choice"]) == ([{"type": "function", "function": function}], wire)


def test_calls_and_results_of_tools_are_in_openais_form() -> None:
    asked = Message(Role.ASSISTANT, "", tool_calls=(ToolCall("call_1", "add", '{"a":1}'),))
    result = Message(Role.TOOL, "3", tool_call_id="call_1")
    function = {"name": "add", "arguments": '{"a":1}'}
    assert body_of(ChatRequest(model="small", messages=(asked, result)))["messages"] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "3", "tool_call_id": "call_1"},
    ]


def test_a_stream_is_deltas_then_usage_then_completed() -> None:
    usage = '{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}'
    assert read(
        '{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}',
        text("Hel"),
        text("lo"),
        finish("stop"),
        usage,
    ) == [Delta("Hel"), Delta("lo"), Usage(3, 2), Completed(FinishReason.STOP)]


def test_a_model_that_tells_of_impossibly_many_tokens_is_not_believed() -> None:
    usage = f'{{"choices": [], "usage": {{"prompt_tokens": {10**30}, "completion_tokens": {2**64}}}}}'
    assert read(text("Hi"), finish("stop"), usage)[1] == Usage(MOST_TOKENS, MOST_TOKENS)


def test_tool_calls_in_pieces_are_put_together_in_order() -> None:
    assert read(
        call(1, call_id="call_b", function={"name": "sub", "arguments": ""}),
        call(0, call_id="call_a", function={"name": "add", "arguments": '{"a'}),
        call(1, function={"arguments": "{}"}),
        call(0, function={"arguments": '":1}'}),
        finish("tool_calls"),
    ) == [
        ToolCall("call_a", "add", '{"a":1}'),
        ToolCall("call_b", "sub", "{}"),
        Usage(0, 0),
        Completed(FinishReason.TOOL_CALLS),
    ]


@pytest.mark.parametrize(
    ("said", "has_calls", "meant"),
    [
        ("stop", False, FinishReason.STOP),
        ("length", False, FinishReason.LENGTH),
        ("content_filter", False, FinishReason.CONTENT_FILTER),
        ("eos", False, FinishReason.STOP),
        ("tool_calls", False, FinishReason.STOP),
        ("tool_calls", True, FinishReason.TOOL_CALLS),
        ("stop", True, FinishReason.TOOL_CALLS),
        ("length", True, FinishReason.LENGTH),
        ("content_filter", True, FinishReason.CONTENT_FILTER),
    ],
)
def test_how_an_answer_ended(said: str, has_calls: bool, meant: FinishReason) -> None:
    """A call that was cut off has half its arguments, and must not pass for a whole one."""
    calls = [call(0, call_id="call_a", function={"name": "add", "arguments": '{"a'})] if has_calls else []
    assert read(*calls, finish(said))[-1] == Completed(meant)


def test_a_stream_without_a_finish_reason_broke_off() -> None:
    assert read(text("Hel")) == [Delta("Hel")]


def test_only_the_first_choice_counts() -> None:
    assert read('{"choices": [{"delta": {"content": "a"}}, {"delta": {"content": "b"}}]}') == [Delta("a")]


def test_an_error_in_the_stream_is_an_error() -> None:
    with pytest.raises(ValueError, match="error"):
        read('{"error": {"message": "out of memory"}}')


@pytest.mark.parametrize(
    "chunk",
    ['{"choices": [{"delta": {"content": 1}}]}', '{"usage": {"prompt_tokens": -1}}', '{"choices": 1}', "[]", ""],
)
def test_a_chunk_of_another_shape_is_no_chunk(chunk: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        read(chunk)


def data_in(*packets: bytes) -> list[bytes]:
    received = EventData()
    data = [each for packet in packets for each in received.feed(packet)]
    return data if received.is_done else [*data, *received.feed(b"")]


@pytest.mark.parametrize(
    "packets",
    [
        [b"data: one\n\ndata: two\n\n"],
        [b"data: one\r\n\r\n", b"data:two\n\n"],
        [b"da", b"ta: o", b"ne\n", b"\ndata: two\n", b"\n"],
        [bytes([byte]) for byte in b"data: one\n\ndata: two\n\n"],
        [b": keep-alive\n\nevent: message\nid: 1\ndata: one\n\ndata:\n\nretry: 3\n\ndata: two"],
        [b"data: one\n\ndata: two\n\ndata: [DONE]\n\ndata: three\n\n"],
    ],
    ids=["one packet", "other forms", "torn", "bytes", "other lines, no end", "done"],
)
def test_the_data_of_a_stream_comes_out_of_whatever_packets_it_comes_in(packets: list[bytes]) -> None:
    assert data_in(*packets) == [b"one", b"two"]


def test_a_stream_is_done_when_it_says_so_or_ends() -> None:
    received = EventData()
    assert (list(received.feed(b"data: one\n")), received.is_done) == ([b"one"], False)
    assert (list(received.feed(b"data: [DONE]\n")), received.is_done) == ([], True)
    assert (list(received.feed(b"")), received.is_done) == ([], True)


def test_a_line_that_goes_on_and_on_is_no_stream() -> None:
    with pytest.raises(ValueError, match="too long"):
        data_in(b"data: ", *[b"x" * 1024 * 1024] * 5)


def answered(completion: str) -> list[AnswerEvent]:
    return list(events_of(msgspec.json.decode(completion, type=Completion)))


def test_an_answer_in_one_piece_is_asked_for_without_a_stream() -> None:
    body = msgspec.json.decode(chat_body(ChatRequest(model="m", messages=(USER,), in_one_piece=True)))
    assert not {"stream", "stream_options"} & set(body)


def test_an_answer_in_one_piece_has_its_text_its_usage_and_its_end() -> None:
    assert answered(
        '{"choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "length"}],'
        ' "usage": {"prompt_tokens": 3, "completion_tokens": 99999999999}}'
    ) == [Delta("Hello"), Usage(3, MOST_TOKENS), Completed(FinishReason.LENGTH)]


def test_an_answer_in_one_piece_keeps_its_calls_apart() -> None:
    calls = ", ".join(f'{{"id": "{name}", "function": {{"name": "{name}", "arguments": "{{}}"}}}}' for name in "ab")
    told = f'{{"choices": [{{"message": {{"content": null, "tool_calls": [{calls}]}}, "finish_reason": "stop"}}]}}'
    assert answered(told) == [
        ToolCall("a", "a", "{}"),
        ToolCall("b", "b", "{}"),
        Usage(0, 0),
        Completed(FinishReason.TOOL_CALLS),
    ]


@pytest.mark.parametrize("told", ['{"choices": []}', '{"choices": [{"message": {"content": "Hel"}}]}', "{}"])
def test_an_answer_in_one_piece_without_its_end_is_none(told: str) -> None:
    assert answered(told) == []


def test_an_error_in_place_of_an_answer_is_an_error() -> None:
    with pytest.raises(ValueError, match="error"):
        answered('{"error": {"message": "out of memory"}}')


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "too long"}}', "too long"),
        (b'{"error": "too long"}', "too long"),
        (b'{"error": {}}', "it gave no reason"),
        (b"[]", "it gave no reason"),
        (b"<html>", "it gave no reason"),
        (b'{"error": "' + b"x" * 1000 + b'"}', "x" * 300),
    ],
)
def test_what_an_error_says_to_a_person(body: bytes, message: str) -> None:
    assert error_message(body) == message

"""OpenAI's chat completions as bytes: the request that is sent, and the answer that comes back."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec

from services.agent.conversation import (
    AnswerEvent,
    Completed,
    Delta,
    FinishReason,
    Message,
    Sampling,
    Tool,
    ToolCall,
    Usage,
)
from services.agent.metering import MOST_TOKENS
from services.agent.ports import ChatRequest

_STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
_DATA = b"data:"
_DONE = b"[DONE]"
_MAX_LINE_BYTES = 4 * 1024 * 1024
"""One event of a stream: the arguments of a tool may come in a single one."""

Count = Annotated[int, msgspec.Meta(ge=0)]


class FunctionPart(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class ToolCallPart(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: FunctionPart = msgspec.field(default_factory=FunctionPart)


class DeltaPart(msgspec.Struct):
    content: str | None = None
    tool_calls: list[ToolCallPart] | None = None


class Choice(msgspec.Struct):
    delta: DeltaPart = msgspec.field(default_factory=DeltaPart)
    finish_reason: str | None = None


class UsagePart(msgspec.Struct):
    prompt_tokens: Count = 0
    completion_tokens: Count = 0


class Chunk(msgspec.Struct):
    """One event of the stream; what is not named here is not needed."""

    choices: list[Choice] = []
    usage: UsagePart | None = None
    error: Any = None


class Whole(msgspec.Struct):
    """A choice of an answer in one piece."""

    message: DeltaPart = msgspec.field(default_factory=DeltaPart)
    finish_reason: str | None = None


class Completion(msgspec.Struct):
    """An answer in one piece."""

    choices: list[Whole] = []
    usage: UsagePart | None = None
    error: Any = None


class ListedModel(msgspec.Struct):
    id: str
    owned_by: str = ""
    created: float = 0


class ModelList(msgspec.Struct):
    data: list[ListedModel]


def chat_body(request: ChatRequest) -> bytes:
    """The JSON body of a request."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [_message(message) for message in request.messages],
        **({} if request.in_one_piece else _STREAMED),
        **_sampling(request.sampling),
    }
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        body["tool_choice"] = _tool_choice(request.tool_choice)
    return msgspec.json.encode(body)


def error_message(body: bytes) -> str:
    """What an error's body says to a person, at most 300 characters."""
    try:
        error = msgspec.json.decode(body)["error"]
        message = error["message"] if isinstance(error, dict) else error
    except (msgspec.MsgspecError, KeyError, TypeError):
        message = "it gave no reason"
    return str(message)[:300]


class EventData:
    """Cuts a stream of server-sent events, in whatever packets it comes, into the data of each."""

    def __init__(self) -> None:
        self.is_done = False
        """Whether nothing else will come."""
        self._begun: list[bytes] = []
        """Of the line that is not yet complete."""

    def feed(self, packet: bytes) -> Iterator[bytes]:
        """The data that the packet completes; an empty one ends the stream, and with it the last line.

        To be read to the end. Raises ValueError for a line that goes on and on.
        """
        *lines, rest = (packet or b"\n").split(b"\n")
        self.is_done = not packet
        if lines:
            lines[0] = b"".join((*self._begun, lines[0]))
            self._begun.clear()
        self._begun.append(rest)
        for line in lines:
            if not line.startswith(_DATA):
                continue
            data = line[len(_DATA) :].strip()
            if data == _DONE:
                self.is_done = True
                return
            if data:
                yield data
        if sum(map(len, self._begun)) > _MAX_LINE_BYTES:
            raise ValueError("a line of the stream is too long")


class StreamReader:
    """Turns chunks into events. Tool calls come in pieces, and are given out whole at the end."""

    def __init__(self) -> None:
        self._calls: dict[int, ToolCallPart] = {}
        self._usage: Usage | None = None
        self._finish: str | None = None

    def read(self, chunk: Chunk) -> Sequence[AnswerEvent]:
        """The deltas in a chunk. Raises ValueError if the chunk is an error."""
        if chunk.error:
            raise ValueError("the stream carried an error")
        if chunk.usage is not None:
            self._usage = _usage(chunk.usage)
        deltas: list[AnswerEvent] = []
        for choice in chunk.choices[:1]:
            self._finish = choice.finish_reason or self._finish
            for part in choice.delta.tool_calls or ():
                self._add(part)
            if choice.delta.content:
                deltas.append(Delta(choice.delta.content))
        return deltas

    def finish(self) -> Iterator[AnswerEvent]:
        """What is known only at the end: tool calls, usage, Completed. Nothing if the stream broke off."""
        if self._finish is None:
            return
        for _, call in sorted(self._calls.items()):
            yield ToolCall(call.id or "", call.function.name or "", call.function.arguments or "")
        yield self._usage or _usage(UsagePart())
        yield Completed(_finish_reason(self._finish, has_calls=bool(self._calls)))

    def _add(self, part: ToolCallPart) -> None:
        call = self._calls.setdefault(part.index, ToolCallPart(index=part.index))
        call.id = call.id or part.id
        call.function.name = (call.function.name or "") + (part.function.name or "")
        call.function.arguments = (call.function.arguments or "") + (part.function.arguments or "")


def events_of(completion: Completion) -> Iterator[AnswerEvent]:
    """The events of an answer in one piece; none if it is no whole answer. Raises ValueError if it is an error."""
    if completion.error:
        raise ValueError("the answer was an error")
    for choice in completion.choices[:1]:
        if choice.finish_reason is None:
            return
        calls = choice.message.tool_calls or ()
        if choice.message.content:
            yield Delta(choice.message.content)
        for call in calls:
            yield ToolCall(call.id or "", call.function.name or "", call.function.arguments or "")
        yield _usage(completion.usage or UsagePart())
        yield Completed(_finish_reason(choice.finish_reason, has_calls=bool(calls)))


def _usage(told: UsagePart) -> Usage:
    return Usage(min(told.prompt_tokens, MOST_TOKENS), min(told.completion_tokens, MOST_TOKENS))


def _finish_reason(reason: str, *, has_calls: bool) -> FinishReason:
    """Calls that were cut off stay cut off; some servers end whole ones with "stop"."""
    if reason in (FinishReason.LENGTH, FinishReason.CONTENT_FILTER):
        return FinishReason(reason)
    return FinishReason.TOOL_CALLS if has_calls else FinishReason.STOP


def _message(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        wire["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        wire["tool_call_id"] = message.tool_call_id
    return wire


def _tool(tool: Tool) -> dict[str, Any]:
    """Whether it has side effects is no business of the model's."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _sampling(sampling: Sampling) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(sampling).items() if value not in (None, ())}


def _tool_choice(choice: str) -> str | dict[str, Any]:
    if choice in ("", "auto", "none", "required"):
        return choice or "auto"
    return {"type": "function", "function": {"name": choice}}

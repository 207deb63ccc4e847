"""OpenAI's chat completions as bytes: the request that is sent, and the stream that comes back."""

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


class ListedModel(msgspec.Struct):
    id: str
    owned_by: str = ""
    created: float = 0


class ModelList(msgspec.Struct):
    data: list[ListedModel]


def chat_body(request: ChatRequest) -> bytes:
    """The JSON body of a streamed request."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [_message(message) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
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
            usage = chunk.usage
            self._usage = Usage(min(usage.prompt_tokens, MOST_TOKENS), min(usage.completion_tokens, MOST_TOKENS))
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
        yield self._usage or Usage(0, 0)
        yield Completed(_finish_reason(self._finish, has_calls=bool(self._calls)))

    def _add(self, part: ToolCallPart) -> None:
        call = self._calls.setdefault(part.index, ToolCallPart(index=part.index))
        call.id = call.id or part.id
        call.function.name = (call.function.name or "") + (part.function.name or "")
        call.function.arguments = (call.function.arguments or "") + (part.function.arguments or "")


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

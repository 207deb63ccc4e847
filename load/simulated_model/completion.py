"""OpenAI's JSON: completions, the chunks of a stream, errors, the list of models."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from load.simulated_model.answer import Answer, FinishReason, ToolCall

DONE = b"data: [DONE]\n\n"


class Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Function(msgspec.Struct):
    arguments: str
    name: str | UnsetType = UNSET


class ToolCallPart(msgspec.Struct):
    """A tool call: whole in a completion, where `index` is unset, or a piece of one in a chunk."""

    function: Function
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    index: int | UnsetType = UNSET


class Message(msgspec.Struct):
    """The message of a completion, or in a chunk the delta to it."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    tool_calls: list[ToolCallPart] | UnsetType = UNSET


class Choice(msgspec.Struct):
    finish_reason: FinishReason | None
    message: Message | UnsetType = UNSET
    delta: Message | UnsetType = UNSET
    index: int = 0
    logprobs: None = None


class Completion(msgspec.Struct):
    """A whole completion or one chunk of it; `usage` is unset in chunks for callers that did not ask for it."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    object: Literal["chat.completion", "chat.completion.chunk"]
    usage: Usage | UnsetType | None = UNSET


class Head(msgspec.Struct, frozen=True):
    """What all chunks of a completion have in common; `created` in seconds since the epoch."""

    id: str
    created: int
    model: str

    def call_id(self, index: int) -> str:
        """The id of a tool call of this completion."""
        return f"call-{self.id}-{index}"


def count_usage(prompt_tokens: int, answer: Answer) -> Usage:
    return Usage(prompt_tokens, answer.token_count, prompt_tokens + answer.token_count)


def plain_completion(head: Head, answer: Answer, usage: Usage) -> bytes:
    message = Message(role="assistant", content=None if answer.tool_calls else answer.text)
    if answer.tool_calls:
        message.tool_calls = [
            ToolCallPart(Function(call.arguments, call.name), id=head.call_id(index), type="function")
            for index, call in enumerate(answer.tool_calls)
        ]
    choice = Choice(answer.finish_reason, message=message)
    return msgspec.json.encode(Completion(head.id, head.created, head.model, [choice], "chat.completion", usage))


class ChunkWriter:
    """Writes the chunks of one stream as server-sent events."""

    def __init__(self, head: Head, include_usage: bool) -> None:
        self._head = head
        self._absent_usage: UnsetType | None = None if include_usage else UNSET

    def opening(self, answer: Answer) -> bytes:
        """The event before the first token."""
        return self._event([Choice(None, delta=Message(role="assistant", content=None if answer.tool_calls else ""))])

    def tokens(self, answer: Answer) -> list[bytes]:
        """One event for each token."""
        deltas = [Message(content=token) for token in answer.tokens]
        for index, call in enumerate(answer.tool_calls):
            deltas += [Message(tool_calls=[part]) for part in _call_parts(call, index, self._head.call_id(index))]
        return [self._event([Choice(None, delta=delta)]) for delta in deltas]

    def closing(self, answer: Answer, usage: Usage) -> bytes:
        """The finish reason, the usage if it was asked for, and `[DONE]`."""
        finish = self._event([Choice(answer.finish_reason, delta=Message())])
        if self._absent_usage is UNSET:
            return finish + DONE
        return finish + self._event([], usage) + DONE

    def _event(self, choices: list[Choice], usage: Usage | None = None) -> bytes:
        head = self._head
        chunk = Completion(head.id, head.created, head.model, choices, "chat.completion.chunk")
        chunk.usage = usage or self._absent_usage
        return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _call_parts(call: ToolCall, index: int, call_id: str) -> list[ToolCallPart]:
    """A tool call piece by piece: first its name, then its arguments."""
    named = ToolCallPart(Function("", call.name), id=call_id, type="function", index=index)
    return [named] + [ToolCallPart(Function(piece), index=index) for piece in call.pieces()]


def error_body(status: int, message: str) -> bytes:
    error = {"message": message, "type": _error_type(status), "param": None, "code": None}
    return msgspec.json.encode({"error": error})


def _error_type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def model_list(names: tuple[str, ...], created: int) -> bytes:
    models = [{"id": name, "object": "model", "created": created, "owned_by": "simulated"} for name in names]
    return msgspec.json.encode({"object": "list", "data": models})

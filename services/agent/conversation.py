"""The nouns of a conversation: messages, tools, and the events of an answer."""

from enum import StrEnum
from typing import Any

import msgspec


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class ToolCall(msgspec.Struct, frozen=True, tag="tool_call"):
    """The model's wish that the caller run a tool. `arguments` is JSON as the model wrote it, unchecked."""

    id: str
    name: str
    arguments: str


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message. `tool_calls` only of the assistant, `tool_call_id` only of a tool."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


class Tool(msgspec.Struct, frozen=True):
    """A function of the caller's. `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: dict[str, Any]


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the model chooses its words; None leaves it to the model."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


class Delta(msgspec.Struct, frozen=True, tag="delta"):
    """A piece of the answer's text."""

    text: str


class Usage(msgspec.Struct, frozen=True, tag="usage"):
    """Tokens read and written, and their price in US dollars."""

    input_tokens: int
    output_tokens: int
    cost_usd: float = 0.0


class Completed(msgspec.Struct, frozen=True, tag="completed"):
    """The answer is complete. Always the last event."""

    finish_reason: FinishReason


AnswerEvent = Delta | ToolCall | Usage | Completed
"""What an answer is made of, in order: deltas and tool calls, the usage, and at the end Completed."""

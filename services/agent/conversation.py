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
    has_side_effects: bool = False
    """Whether running it changes something outside."""


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


class ToolResult(msgspec.Struct, frozen=True, tag="tool_result"):
    """What a tool came to that the agent itself ran. Unless the agent says otherwise it changed something outside."""

    id: str
    name: str
    content: str
    has_side_effects: bool = True


class Usage(msgspec.Struct, frozen=True, tag="usage"):
    """Tokens read and written, and their price in US dollars."""

    input_tokens: int
    output_tokens: int
    cost_usd: float = 0.0
    from_cache: bool = False
    """Whether the model was not asked, since its output was still known: this is what it took then."""


class Completed(msgspec.Struct, frozen=True, tag="completed"):
    """The answer is complete. Always the last event."""

    finish_reason: FinishReason


AnswerEvent = Delta | ToolCall | ToolResult | Usage | Completed
"""What an answer is made of, in order: deltas, tool calls and results, the usage, and at the end Completed."""

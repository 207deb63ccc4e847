"""Model tokens of a turn: how many it may use, and how many it has used so far."""

import msgspec

from meshkit.errors import Reason, ShoalError
from services.agent.conversation import AnswerEvent, Delta, ToolCall, Usage
from services.agent.ports import AgentTurn

BYTES_PER_TOKEN = 3
"""Fewer than English has (about 4) and about what other scripts have in UTF-8: an estimate for reserving, rather too
high than too low, and for settling where the model tells no usage."""
MESSAGE_TOKENS = 8
"""What a model's template puts around each message, roughly."""
MOST_TOKENS = 10**9
"""More than any model can use in one turn: what callers ask for and what models tell counts up to here."""

_NOTHING_WAS_USED = (Reason.MODEL_UNAVAILABLE, Reason.MODEL_REFUSED)
"""When these come before anything else did."""


def most_tokens(turn: AgentTurn, *, answer_tokens: int) -> int:
    """The most that a turn may use: its prompt and max_tokens, or `answer_tokens` if the caller named none."""
    return min(prompt_tokens(turn) + (turn.sampling.max_tokens or answer_tokens), MOST_TOKENS)


def prompt_tokens(turn: AgentTurn) -> int:
    """An estimate of what the model is shown: messages, wishes for tools, tools."""
    messages = sum(
        _size(message.content) + sum(_call_size(call) for call in message.tool_calls) for message in turn.messages
    )
    tools = sum(
        _size(tool.name) + _size(tool.description) + len(msgspec.json.encode(tool.parameters)) for tool in turn.tools
    )
    return _estimate(messages + tools) + MESSAGE_TOKENS * len(turn.messages)


class Meter:
    """Counts what one turn uses while it runs."""

    def __init__(self, turn: AgentTurn) -> None:
        self._turn = turn
        self._read = 0
        self._written = 0
        """Bytes of the answer."""
        self._told = 0
        """Tokens, by the model's own account."""
        self._was_not_asked = False
        """Whether the answer came from the cache instead of the model."""

    def begin(self) -> None:
        """The prompt goes to the model."""
        self._read = prompt_tokens(self._turn)

    def count(self, event: AnswerEvent) -> None:
        match event:
            case Delta(text):
                self._written += _size(text)
            case ToolCall():
                self._written += _call_size(event)
            case Usage(from_cache=True):
                self._was_not_asked = True
            case Usage(input_tokens, output_tokens):
                self._told += input_tokens + output_tokens

    def fail(self, error: ShoalError) -> None:
        """The model failed. One that could not be reached, or refused the request, has read nothing."""
        if error.reason in _NOTHING_WAS_USED and not self._written:
            self._read = 0

    def used(self) -> int:
        """Tokens so far: what the model told; else the estimated prompt and what has come of the answer.

        What came from the cache costs nothing.
        """
        if self._was_not_asked:
            return self._told
        return min(self._told or self._read + _estimate(self._written), MOST_TOKENS)


class NoMeter:
    """The meter of a turn of which nobody asks what it used."""

    def begin(self) -> None:
        pass

    def count(self, event: AnswerEvent) -> None:
        pass

    def fail(self, error: ShoalError) -> None:
        pass


def _call_size(call: ToolCall) -> int:
    return _size(call.name) + _size(call.arguments)


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))


def _estimate(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)

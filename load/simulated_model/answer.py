"""The answer to a prompt: its own words again and again, so that tests can tell answers apart."""

from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal

FinishReason = Literal["stop", "length", "tool_calls"]

_PIECE = 8  # characters of a tool call's arguments in one streamed token
_WORDLESS = ["(no", "words)"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: str
    """A JSON text."""

    def pieces(self) -> list[str]:
        """The arguments as they are streamed, token by token."""
        return [self.arguments[start : start + _PIECE] for start in range(0, len(self.arguments), _PIECE)]


@dataclass(frozen=True, slots=True)
class Answer:
    """Either tokens of text, which joined are the answer, or tool calls."""

    tokens: tuple[str, ...]
    finish_reason: FinishReason
    tool_calls: tuple[ToolCall, ...] = ()

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    @property
    def token_count(self) -> int:
        """The tokens of the text; a tool call has one for its name and one for each piece of its arguments."""
        return len(self.tokens) + sum(1 + len(call.pieces()) for call in self.tool_calls)


def repeat_words(text: str, tokens: int, limit: int | None) -> Answer:
    """Answer with the words of `text` in a cycle, `tokens` of them, cut off at `limit`."""
    count = tokens if limit is None else min(tokens, limit)
    words = islice(cycle(text.split() or _WORDLESS), count)
    spaced = tuple(word if index == 0 else " " + word for index, word in enumerate(words))
    return Answer(spaced, "length" if count < tokens else "stop")


def call_tools(calls: tuple[ToolCall, ...]) -> Answer:
    return Answer((), "tool_calls", calls)

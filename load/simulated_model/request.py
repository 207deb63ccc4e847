"""The part of an OpenAI chat request that the simulated model reads; all else in it is ignored."""

from typing import Annotated

import msgspec

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]


class ContentPart(msgspec.Struct, frozen=True):
    """A piece of a message; only text parts have text."""

    type: str
    text: str = ""


class Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[ContentPart] | None = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return " ".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class ChatRequest(msgspec.Struct, frozen=True):
    """The body of `POST /v1/chat/completions`."""

    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: PositiveInt | None = None
    max_completion_tokens: PositiveInt | None = None

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def prompt_tokens(self) -> int:
        """The words of all messages: here, a token is a word."""
        return sum(len(message.text().split()) for message in self.messages)

    def prompt(self) -> str:
        """The last user message, or nothing if there is none."""
        return next((message.text() for message in reversed(self.messages) if message.role == "user"), "")

    def tool_results(self) -> list[str]:
        """What tools have returned since the last user message, in order."""
        results: list[str] = []
        for message in reversed(self.messages):
            if message.role == "user":
                break
            if message.role == "tool":
                results.insert(0, message.text())
        return results


_decoder = msgspec.json.Decoder(ChatRequest)


def parse_request(body: bytes) -> ChatRequest:
    """Read a request's body. Raises msgspec.DecodeError, which says what is wrong and where."""
    return _decoder.decode(body)

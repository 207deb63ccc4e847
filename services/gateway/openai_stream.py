"""A turn's events as OpenAI's stream of chunks."""

from collections.abc import Iterator
from typing import Any

from services.gateway.openai_shapes import usage
from services.gateway.translate import finish_reason
from shoal.agent.v1 import agent_pb2 as pb


class ChunkWriter:
    """Turns events into chunks. It remembers what every chunk repeats, and counts tool calls."""

    def __init__(self, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._common: dict[str, Any] = {}
        self._calls = 0
        self._usage: pb.Usage | None = None

    def chunks(self, event: pb.ExecuteStreamResponse) -> Iterator[dict[str, Any]]:
        match event.WhichOneof("event"):
            case "started":
                self._begin(event.started)
                yield self._chunk({"role": "assistant", "content": ""})
            case "delta":
                yield self._chunk({"content": event.delta.text})
            case "tool_call":
                yield self._chunk({"tool_calls": [self._tool_call(event.tool_call)]})
            case "usage":
                self._usage = event.usage
            case "completed":
                yield self._chunk({}, finish=finish_reason(event.completed.finish_reason))
                if self._include_usage and self._usage is not None:
                    yield {**self._common, "choices": [], "usage": usage(self._usage)}

    def _begin(self, started: pb.Started) -> None:
        self._common = {
            "id": f"chatcmpl-{started.id}",
            "object": "chat.completion.chunk",
            "created": started.created.seconds,
            "model": started.model,
        }

    def _chunk(self, delta: dict[str, Any], *, finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._common, "choices": [choice]}

    def _tool_call(self, call: pb.ToolCall) -> dict[str, Any]:
        index, self._calls = self._calls, self._calls + 1
        function = {"name": call.name, "arguments": call.arguments}
        return {"index": index, "id": call.id, "type": "function", "function": function}

"""OpenAI's REST API, as far as its SDKs need it: chat completions and models."""

from collections.abc import AsyncIterator, Iterator, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meshkit import call
from meshkit.errors import Reason, ShoalError
from services.gateway import cache_directives, openai_shapes, sse
from services.gateway.agent_client import AgentClient
from services.gateway.bodies import json_response, read_json
from services.gateway.openai_shapes import ChatCompletionBody, StreamOptions
from services.gateway.openai_stream import ChunkWriter
from services.gateway.routing import route
from services.gateway.shapes import CacheShape
from services.gateway.turns import Turns
from shoal.agent.v1 import agent_pb2 as pb


class OpenAIRoutes:
    """The routes under /v1."""

    def __init__(self, *, turns: Turns, agent: AgentClient, request_max_bytes: int) -> None:
        self._turns = turns
        self._agent = agent
        self._request_max_bytes = request_max_bytes

    def routes(self) -> list[Route]:
        return [
            route("/v1/chat/completions", {"POST": self.chat_completions}),
            route("/v1/models", {"GET": self.models}),
            route("/v1/models/{model:path}", {"GET": self.model}),
        ]

    async def chat_completions(self, request: Request) -> Response:
        body = await read_json(request, ChatCompletionBody, max_bytes=self._request_max_bytes)
        cache = cache_directives.combined(body.cache or CacheShape(), request.headers)
        turn = openai_shapes.execute_request(msgspec.structs.replace(body, cache=cache))
        if not body.stream:
            response, headers = await self._turns.execute(turn, request)
            return json_response(openai_shapes.completion(response), headers=headers)
        running = await self._turns.stream(turn, request)
        options = body.stream_options or StreamOptions()
        return sse.EventStream(
            _written(running.events(), ChunkWriter(include_usage=options.include_usage)),
            stop=running.cancel,
            path=request.url.path,
            request_id=call.current().request_id,
            headers=running.headers,
        )

    async def models(self, request: Request) -> Response:
        return json_response(openai_shapes.model_list(await self._agent.list_models()))

    async def model(self, request: Request) -> Response:
        name = request.path_params["model"]
        for model in (await self._agent.list_models()).models:
            if model.id == name:
                return json_response(openai_shapes.model(model))
        raise ShoalError(
            Reason.MODEL_UNKNOWN, f"The model {name!r} is not served; /v1/models lists them.", field="model"
        )


async def _written(
    groups: AsyncIterator[Sequence[pb.ExecuteStreamResponse]], writer: ChunkWriter
) -> AsyncIterator[bytes]:
    async for events in groups:
        yield b"".join(written for event in events for written in _events(event, writer))


def _events(event: pb.ExecuteStreamResponse, writer: ChunkWriter) -> Iterator[bytes]:
    if event.HasField("heartbeat"):
        yield sse.HEARTBEAT
    for chunk in writer.chunks(event):
        yield sse.event(msgspec.json.encode(chunk))

"""OpenAI's REST API, as far as its SDKs need it: chat completions and models."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meshkit import call
from services.gateway import openai_shapes, sse
from services.gateway.agent_client import AgentClient
from services.gateway.bodies import json_response, read_json
from services.gateway.openai_shapes import ChatCompletionBody, StreamOptions
from services.gateway.openai_stream import ChunkWriter
from shoal.agent.v1 import agent_pb2 as pb


class OpenAIRoutes:
    """The routes under /v1."""

    def __init__(self, *, agent: AgentClient, request_max_bytes: int) -> None:
        self._agent = agent
        self._request_max_bytes = request_max_bytes

    def routes(self) -> list[Route]:
        return [
            Route("/v1/chat/completions", self.chat_completions, methods=["POST"]),
            Route("/v1/models", self.models, methods=["GET"]),
        ]

    async def chat_completions(self, request: Request) -> Response:
        body = await read_json(request, ChatCompletionBody, max_bytes=self._request_max_bytes)
        turn = openai_shapes.execute_request(body)
        if not body.stream:
            response, headers = await self._agent.execute(turn)
            return json_response(openai_shapes.completion(response), headers=headers)
        events, headers = await self._agent.stream(turn)
        options = body.stream_options or StreamOptions()
        return sse.response(
            _written(events, ChunkWriter(include_usage=options.include_usage)),
            path=request.url.path,
            request_id=call.current().request_id,
            headers=headers,
        )

    async def models(self, request: Request) -> Response:
        return json_response(openai_shapes.model_list(await self._agent.list_models()))


async def _written(
    events: AsyncGenerator[pb.ExecuteStreamResponse, None], writer: ChunkWriter
) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        async for event in events:
            if event.HasField("heartbeat"):
                yield sse.HEARTBEAT
            for chunk in writer.chunks(event):
                yield sse.event(msgspec.json.encode(chunk))

"""Shoal's own REST API: tasks, sessions, preferences."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meshkit import call
from services.gateway import sse, translate
from services.gateway.agent_client import AgentClient
from services.gateway.bodies import invalid, json_response, read_json
from services.gateway.shapes import (
    CacheShape,
    PreferencesAnswer,
    PreferencesBody,
    SessionAnswer,
    SessionDeleted,
    TaskBody,
)
from shoal.agent.v1 import agent_pb2 as pb


class TaskRoutes:
    """The routes under /api/v1."""

    def __init__(self, *, agent: AgentClient, request_max_bytes: int) -> None:
        self._agent = agent
        self._request_max_bytes = request_max_bytes

    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/task", self.post_task, methods=["POST"]),
            Route("/api/v1/task", self.get_task, methods=["GET"]),
            Route("/api/v1/sessions/{session_id}", self.get_session, methods=["GET"]),
            Route("/api/v1/sessions/{session_id}", self.delete_session, methods=["DELETE"]),
            Route("/api/v1/users/{user_id}/preferences", self.get_preferences, methods=["GET"]),
            Route("/api/v1/users/{user_id}/preferences", self.put_preferences, methods=["PUT"]),
        ]

    async def post_task(self, request: Request) -> Response:
        body = await read_json(request, TaskBody, max_bytes=self._request_max_bytes)
        return await self._run(body, request)

    async def get_task(self, request: Request) -> Response:
        """The same as POST for what fits into a query: for caches and load tools."""
        try:
            body = msgspec.convert(dict(request.query_params), TaskBody, strict=False)
        except msgspec.ValidationError as error:
            raise invalid(error) from None
        return await self._run(body, request)

    async def get_session(self, request: Request) -> Response:
        session = await self._agent.get_session(request.path_params["session_id"])
        messages = [translate.message(message) for message in session.messages]
        return json_response(SessionAnswer(session.session_id, messages, session.expires.ToNanoseconds() / 1e9))

    async def delete_session(self, request: Request) -> Response:
        session_id = request.path_params["session_id"]
        deleted = await self._agent.delete_session(session_id)
        return json_response(SessionDeleted(session_id, deleted.existed))

    async def get_preferences(self, request: Request) -> Response:
        user_id = request.path_params["user_id"]
        kept = await self._agent.get_preferences(user_id)
        return json_response(PreferencesAnswer(user_id, translate.plain_dict(kept.preferences), kept.version))

    async def put_preferences(self, request: Request) -> Response:
        user_id = request.path_params["user_id"]
        body = await read_json(request, PreferencesBody, max_bytes=self._request_max_bytes)
        put = await self._agent.put_preferences(
            pb.PutPreferencesRequest(
                user_id=user_id,
                preferences=translate.struct("preferences", body.preferences),
                expected_version=body.expected_version,
            )
        )
        return json_response(PreferencesAnswer(user_id, body.preferences, put.version))

    async def _run(self, body: TaskBody, request: Request) -> Response:
        if _forbids_storing(request):
            body = msgspec.structs.replace(body, cache=CacheShape(mode="bypass"))
        turn = translate.execute_request(body)
        if not body.stream:
            response, headers = await self._agent.execute(turn)
            return json_response(translate.task_answer(response), headers=headers)
        events, headers = await self._agent.stream(turn)
        return sse.response(
            _written(events), path=request.url.path, request_id=call.current().request_id, headers=headers
        )


def _forbids_storing(request: Request) -> bool:
    directives = request.headers.get("cache-control", "").lower().split(",")
    return "no-store" in (directive.strip() for directive in directives)


async def _written(events: AsyncGenerator[pb.ExecuteStreamResponse, None]) -> AsyncGenerator[bytes, None]:
    stream_id = ""
    async with aclosing(events):
        async for event in events:
            if event.HasField("heartbeat"):
                yield sse.HEARTBEAT
                continue
            stream_id = stream_id or event.started.stream_id
            data = msgspec.json.encode(translate.event_data(event))
            yield sse.event(data, id=f"{stream_id}:{event.sequence}")

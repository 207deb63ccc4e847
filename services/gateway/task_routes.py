"""Shoal's own REST API: tasks, sessions, preferences."""

from collections.abc import AsyncIterator, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meshkit import call
from meshkit.json_struct import from_struct
from services.gateway import cache_directives, http_caching, sse, translate
from services.gateway.agent_client import AgentClient
from services.gateway.bodies import json_response, read_json, read_query
from services.gateway.routing import route
from services.gateway.shapes import (
    PreferencesAnswer,
    PreferencesBody,
    SessionAnswer,
    SessionDeleted,
    TaskBody,
    TaskQuery,
)
from services.gateway.turns import Turns
from shoal.agent.v1 import agent_pb2 as pb


class TaskRoutes:
    """The routes under /api/v1."""

    def __init__(self, *, turns: Turns, agent: AgentClient, request_max_bytes: int) -> None:
        self._turns = turns
        self._agent = agent
        self._request_max_bytes = request_max_bytes

    def routes(self) -> list[Route]:
        return [
            route("/api/v1/task", {"POST": self.post_task, "GET": self.get_task}),
            route("/api/v1/sessions/{session_id}", {"GET": self.get_session, "DELETE": self.delete_session}),
            route("/api/v1/users/{user_id}/preferences", {"GET": self.get_preferences, "PUT": self.put_preferences}),
        ]

    async def post_task(self, request: Request) -> Response:
        body = await read_json(request, TaskBody, max_bytes=self._request_max_bytes)
        turn = _turn(body, request)
        if body.stream:
            return await self._stream(turn, request)
        response, headers = await self._turns.execute(turn, request)
        return json_response(translate.task_answer(response), headers=headers)

    async def get_task(self, request: Request) -> Response:
        """The same as POST for what fits into a query: for caches and load tools. HEAD does all that GET does."""
        body = translate.task_body(read_query(request, TaskQuery))
        turn = _turn(body, request)
        if body.stream:
            return await self._stream(turn, request)
        response, served = await self._turns.execute(turn, request)
        headers = served | http_caching.headers(turn, response)
        if "etag" in headers and http_caching.is_held(request.headers.getlist("if-none-match"), headers["etag"]):
            return Response(status_code=304, headers=headers)
        return json_response(translate.task_answer(response), headers=headers)

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
        return json_response(
            PreferencesAnswer(user_id, from_struct(kept.preferences, field="preferences"), kept.version)
        )

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

    async def _stream(self, turn: pb.ExecuteRequest, request: Request) -> Response:
        running = await self._turns.stream(turn, request)
        return sse.EventStream(
            _written(running.events()),
            stop=running.cancel,
            path=request.url.path,
            request_id=call.current().request_id,
            headers=running.headers,
        )


def _turn(body: TaskBody, request: Request) -> pb.ExecuteRequest:
    cache = cache_directives.combined(body.cache, request.headers)
    return translate.execute_request(msgspec.structs.replace(body, cache=cache))


async def _written(groups: AsyncIterator[Sequence[pb.ExecuteStreamResponse]]) -> AsyncIterator[bytes]:
    stream_id = ""
    async for events in groups:
        stream_id = stream_id or events[0].started.stream_id
        yield b"".join(_event(event, stream_id) for event in events)


def _event(event: pb.ExecuteStreamResponse, stream_id: str) -> bytes:
    if event.HasField("heartbeat"):
        return sse.HEARTBEAT
    return sse.event(msgspec.json.encode(translate.event_data(event)), id=f"{stream_id}:{event.sequence}")

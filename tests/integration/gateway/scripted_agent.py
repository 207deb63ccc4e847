"""An agent that answers as a test tells it to, on a real server behind the guard that every service has.

To the gateway it stands for Envoy's inner listener with an agent behind.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from meshkit import call, serve
from meshkit.call import Call
from meshkit.call_guard import CallGuard
from meshkit.errors import Reason, ShoalError, field_invalid
from meshkit.http1.server import listening
from meshkit.http1.server_connection import Terms
from meshkit.identity import IdentitySigner
from meshkit.mesh_tls import MeshTls
from meshkit.metrics import Metrics
from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc

SERVICE = "shoal.agent.v1.AgentService"
REPLICA = "agent-7"
CREATED = Timestamp(seconds=1_700_000_000)
KEY = "0123456789abcdef" * 4
USAGE = pb.Usage(input_tokens=2, output_tokens=3, cost_usd=0.25)

MISS = pb.CacheReport(status=pb.CACHE_STATUS_MISS)

Context = grpc.aio.ServicerContext[Any, Any]
Step = pb.ExecuteStreamResponse | Exception | asyncio.Event


def delta(text: str) -> pb.ExecuteStreamResponse:
    return pb.ExecuteStreamResponse(delta=pb.Delta(text=text))


def tool_call(call_id: str, name: str, arguments: str) -> pb.ExecuteStreamResponse:
    return pb.ExecuteStreamResponse(tool_call=pb.ToolCall(id=call_id, name=name, arguments=arguments))


def tool_result(call_id: str, name: str, content: str) -> pb.ExecuteStreamResponse:
    return pb.ExecuteStreamResponse(tool_result=pb.ToolResult(id=call_id, name=name, content=content))


def completed(reason: pb.FinishReason.ValueType = pb.FINISH_REASON_STOP) -> pb.ExecuteStreamResponse:
    return pb.ExecuteStreamResponse(completed=pb.Completed(finish_reason=reason))


HEARTBEAT = pb.ExecuteStreamResponse(heartbeat=pb.Heartbeat())


@dataclass
class Script:
    """What happens in one turn after it began: events to send, errors to raise, moments to wait for."""

    steps: Sequence[Step]
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the turn ended before its script did."""

    async def play(self) -> AsyncIterator[pb.ExecuteStreamResponse]:
        over = False
        try:
            for step in self.steps:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
            over = True
        finally:
            if not over:
                self.left.set()


class ScriptedAgent(agent_pb2_grpc.AgentServiceServicer):
    """Plays the script of a task; a task without one is said back in two pieces. Remembers what it was asked."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.caches: dict[str, pb.CacheReport] = {}
        """What the cache did for a task; a task without a word here was a miss, and was not kept."""
        self.asked: list[pb.ExecuteRequest] = []
        self.takes_groups: list[bool] = []
        """Of each stream, whether its caller does."""
        self.calls: list[Call] = []
        self.metadata: list[dict[str, str]] = []
        self.sessions: dict[str, list[pb.Message]] = {}
        self.preferences: dict[str, pb.GetPreferencesResponse] = {}

    def on(self, task: str, *steps: Step) -> Script:
        self.scripts[task] = Script(steps)
        return self.scripts[task]

    async def Execute(self, request: pb.ExecuteRequest, context: Context) -> pb.ExecuteResponse:  # noqa: N802
        response = pb.ExecuteResponse(
            id="turn_1", model=_model(request), why="the default model", replica=REPLICA, created=CREATED
        )
        response.session_id = request.session_id
        response.cache.CopyFrom(self._cache_report(request))
        await self._begin(request, context)
        async for event in self._events(request):
            response.output += event.delta.text
            if event.HasField("tool_call"):
                response.tool_calls.append(event.tool_call)
            if event.HasField("usage"):
                response.usage.CopyFrom(event.usage)
            if event.HasField("completed"):
                response.finish_reason = event.completed.finish_reason
        return response

    async def ExecuteStream(  # noqa: N802
        self, request: pb.ExecuteStreamRequest, context: Context
    ) -> AsyncIterator[pb.ExecuteStreamResponse]:
        turn = request.turn
        self.takes_groups.append(request.group_events)
        await self._begin(turn, context)
        started = pb.Started(id="turn_1", stream_id="stream_1", model=_model(turn), replica=REPLICA, created=CREATED)
        started.cache.CopyFrom(pb.CacheReport(status=pb.CACHE_STATUS_HIT, level="l2", age_seconds=1.5))
        yield pb.ExecuteStreamResponse(sequence=1, started=started)
        sequence = 1
        async for event in self._events(turn):
            sequence += not event.HasField("heartbeat")
            numbered = pb.ExecuteStreamResponse(sequence=sequence)
            numbered.MergeFrom(event)
            yield numbered

    async def GetSession(self, request: pb.GetSessionRequest, context: Context) -> pb.GetSessionResponse:  # noqa: N802
        if request.session_id not in self.sessions:
            raise ShoalError(Reason.SESSION_NOT_FOUND, "There is no such session.", field="session_id")
        return pb.GetSessionResponse(
            session_id=request.session_id, messages=self.sessions[request.session_id], expires=CREATED
        )

    async def DeleteSession(  # noqa: N802
        self, request: pb.DeleteSessionRequest, context: Context
    ) -> pb.DeleteSessionResponse:
        return pb.DeleteSessionResponse(existed=self.sessions.pop(request.session_id, None) is not None)

    async def GetPreferences(  # noqa: N802
        self, request: pb.GetPreferencesRequest, context: Context
    ) -> pb.GetPreferencesResponse:
        nothing = pb.GetPreferencesResponse(preferences=Struct())
        return self.preferences.get(request.user_id, nothing)

    async def PutPreferences(  # noqa: N802
        self, request: pb.PutPreferencesRequest, context: Context
    ) -> pb.PutPreferencesResponse:
        kept = self.preferences.get(request.user_id, pb.GetPreferencesResponse())
        if request.HasField("expected_version") and request.expected_version != kept.version:
            raise ShoalError(Reason.PREFERENCES_CONFLICT, "Somebody else changed them.", field="expected_version")
        version = kept.version + 1
        self.preferences[request.user_id] = pb.GetPreferencesResponse(preferences=request.preferences, version=version)
        return pb.PutPreferencesResponse(version=version)

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: N802
        return pb.ListModelsResponse(
            models=[pb.Model(id="small", owned_by="them", created=CREATED), pb.Model(id="big")]
        )

    async def _begin(self, request: pb.ExecuteRequest, context: Context) -> None:
        """Refuses before anything is sent, as the real agent does: ids of another form, what is not cached."""
        self.asked.append(request)
        self.calls.append(call.current())
        self.metadata.append({key: str(value) for key, value in context.invocation_metadata() or ()})
        if " " in request.session_id:
            raise field_invalid("session_id", "be 1 to 128 characters of A-Z a-z 0-9 . _ : -")
        if request.cache.mode == pb.CACHE_MODE_ONLY and self._cache_report(request).status != pb.CACHE_STATUS_HIT:
            raise ShoalError(Reason.NOT_CACHED, "The answer is not in the cache.", field="cache.mode")
        await context.send_initial_metadata(
            (("x-shoal-replica", REPLICA), ("x-shoal-cache", "hit; level=l2"), ("x-shoal-cache-key", KEY))
        )

    async def _events(self, request: pb.ExecuteRequest) -> AsyncIterator[pb.ExecuteStreamResponse]:
        """What follows the beginning of a turn."""
        if request.task in self.scripts:
            async for event in self.scripts[request.task].play():
                yield event
            return
        half = len(request.task) // 2
        usage = pb.ExecuteStreamResponse(usage=USAGE)
        for event in (delta(request.task[:half]), delta(request.task[half:]), usage, completed()):
            yield event

    def _cache_report(self, request: pb.ExecuteRequest) -> pb.CacheReport:
        report = pb.CacheReport(public=request.cache.public)
        report.MergeFrom(self.caches.get(request.task, MISS))
        return report


def _model(request: pb.ExecuteRequest) -> str:
    return request.model or "small"


@asynccontextmanager
async def served(
    agent: ScriptedAgent, *, port: int, signer: IdentitySigner, tls: MeshTls | None = None
) -> AsyncIterator[None]:
    """Serves the agent as Envoy does, healthy, until the end."""
    server = serve.new_server(
        CallGuard(signer=signer, metrics=Metrics(), replica="test-1", longest_seconds=900, slow_client_seconds=30)
    )
    agent_pb2_grpc.add_AgentServiceServicer_to_server(agent, server)
    healthy = health.aio.HealthServicer()
    await healthy.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    terms = Terms([server], is_serving=lambda: True)
    async with listening(terms, port=port, tls=tls.server_context() if tls else None):
        yield

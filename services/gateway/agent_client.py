"""The agent as the gateway sees it: calls through the inner listener, errors as ShoalError."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from meshkit import call, status
from services.gateway import affinity
from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1.agent_pb2_grpc import AgentServiceStub

R = TypeVar("R")

_PASSED_ON = (call.REPLICA_HEADER, call.CACHE_HEADER, call.CACHE_KEY_HEADER)
_HEALTH_SECONDS = 1.0


class RunningTurn:
    """A turn that streams. Whoever asked for it cancels it in the end, which does nothing to one that is complete."""

    def __init__(self, running: Any, first: Any, headers: dict[str, str], *, completed: Callable[[], None]) -> None:
        """`completed` is called before the event that says that the turn is complete."""
        self._running = running
        self._first = first
        self._completed = completed
        self.headers = headers

    async def events(self) -> AsyncIterator[Sequence[pb.ExecuteStreamResponse]]:
        """Every event, once, together with those that were ready at the same time. Raises ShoalError if the turn fails
        half-way."""
        message = self._first
        try:
            while message is not grpc.aio.EOF:
                events = message.group.events if message.HasField("group") else (message,)
                if events[-1].HasField("completed"):
                    self._completed()
                yield events
                message = await self._running.read()
        except grpc.aio.AioRpcError as error:
            raise status.from_rpc_error(error) from error

    def cancel(self) -> None:
        self._running.cancel()


class AgentClient:
    """Calls agents on behalf of the current call. The channel is closed by whoever opened it. All raise ShoalError."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = AgentServiceStub(channel)
        self._health: health_pb2_grpc.HealthStub = health_pb2_grpc.HealthStub(channel)

    async def execute(self, request: pb.ExecuteRequest) -> tuple[pb.ExecuteResponse, dict[str, str]]:
        """The completed turn, and the headers that say who served it."""
        running = self._stub.Execute(request, timeout=call.onward_timeout(), metadata=_metadata(request))
        try:
            response = await running
            return response, _headers(await running.initial_metadata())
        except grpc.aio.AioRpcError as error:
            raise status.from_rpc_error(error) from error

    async def stream(self, request: pb.ExecuteRequest, *, completed: Callable[[], None]) -> RunningTurn:
        """A turn that has begun: its first event is there. The caller cancels it. `completed` is called when it is."""
        running = self._stub.ExecuteStream(
            pb.ExecuteStreamRequest(turn=request, group_events=True),
            timeout=call.onward_timeout(),
            metadata=_metadata(request),
        )
        try:
            first = await running.read()
            headers = _headers(await running.initial_metadata())
        except grpc.aio.AioRpcError as error:
            raise status.from_rpc_error(error) from error
        except BaseException:
            running.cancel()
            raise
        return RunningTurn(running, first, headers, completed=completed)

    async def get_session(self, session_id: str) -> pb.GetSessionResponse:
        return await _called(self._stub.GetSession, pb.GetSessionRequest(session_id=session_id))

    async def delete_session(self, session_id: str) -> pb.DeleteSessionResponse:
        return await _called(self._stub.DeleteSession, pb.DeleteSessionRequest(session_id=session_id))

    async def get_preferences(self, user_id: str) -> pb.GetPreferencesResponse:
        return await _called(self._stub.GetPreferences, pb.GetPreferencesRequest(user_id=user_id))

    async def put_preferences(self, request: pb.PutPreferencesRequest) -> pb.PutPreferencesResponse:
        return await _called(self._stub.PutPreferences, request)

    async def list_models(self) -> pb.ListModelsResponse:
        return await _called(self._stub.ListModels, pb.ListModelsRequest())

    async def is_serving(self) -> bool:
        """Whether an agent can be reached that takes calls."""
        service = pb.DESCRIPTOR.services_by_name["AgentService"].full_name
        try:
            answer = await self._health.Check(health_pb2.HealthCheckRequest(service=service), timeout=_HEALTH_SECONDS)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _called(method: Callable[..., Awaitable[R]], request: Any) -> R:
    try:
        return await method(request, timeout=call.onward_timeout(), metadata=call.onward_metadata())
    except grpc.aio.AioRpcError as error:
        raise status.from_rpc_error(error) from error


def _metadata(turn: pb.ExecuteRequest) -> tuple[tuple[str, str], ...]:
    """With the turn's session, so that Envoy may send all turns of a session to one replica."""
    return call.onward_metadata(session_id=affinity.session(turn.session_id))


def _headers(metadata: Any) -> dict[str, str]:
    return {key: str(value) for key, value in metadata or () if key in _PASSED_ON}

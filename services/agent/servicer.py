"""AgentService: validates, calls, translates."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any

import grpc
import msgspec

from meshkit import call, near_cache
from meshkit.errors import Reason, ShoalError, field_invalid, field_required
from meshkit.identity import Identity, require_api_key, require_checked
from meshkit.json_struct import from_struct, to_struct
from meshkit.near_turns import NearTurns
from services.agent import translate
from services.agent.conversation import AnswerEvent
from services.agent.heartbeats import with_heartbeats
from services.agent.model_catalog import ModelCatalog
from services.agent.ports import PreferenceStore, SessionStore
from services.agent.report import CacheReport, Started
from services.agent.request import TurnRequest, check, check_id
from services.agent.slots import Slots
from services.agent.turn import TurnRunner
from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1.agent_pb2_grpc import AgentServiceServicer

PREFERENCES_MAX_BYTES = 16 * 1024
MOST_EVENTS = 128
"""In a group, and so how far a model may be ahead of its reader."""
GROUP_MAX_BYTES = 256 * 1024
"""Of a group of several; one event may have more."""

Context = grpc.aio.ServicerContext[Any, Any]


class AgentServicer(AgentServiceServicer):
    """The agent over gRPC."""

    def __init__(
        self,
        *,
        turns: TurnRunner,
        near: NearTurns,
        slots: Slots,
        catalog: ModelCatalog,
        sessions: SessionStore,
        preferences: PreferenceStore,
        replica: str,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        task_max_bytes: int,
        heartbeat_seconds: float,
    ) -> None:
        """`clock` is Unix time in seconds, `monotonic` the clock of `near`. What is near needs no slot."""
        self._turns = turns
        self._near = near
        self._slots = slots
        self._catalog = catalog
        self._sessions = sessions
        self._preferences = preferences
        self._replica = replica
        self._clock = clock
        self._monotonic = monotonic
        self._task_max_bytes = task_max_bytes
        self._heartbeat_seconds = heartbeat_seconds

    async def Execute(self, request: pb.ExecuteRequest, context: Context) -> pb.ExecuteResponse:
        caller, asked_at = call.current().identity, self._monotonic()
        if near := self._near.find(request, caller, asked_at):
            await context.send_initial_metadata(self._headers(near_cache.HIT, near.cache.key))
            return near
        turn = self._checked(request)
        async with self._slots.taken(), self._turns.run(turn, caller) as running:
            await context.send_initial_metadata(self._headers_of(running.started))
            events = await running.whole()
        response = translate.execute_response(running.started, events, cache=running.cache, replica=self._replica)
        self._near.learn(request, caller, response, asked_at=asked_at)
        self._completed(request, caller)
        return response

    async def ExecuteStream(
        self, request: pb.ExecuteStreamRequest, context: Context
    ) -> AsyncIterator[pb.ExecuteStreamResponse]:
        turn, caller = self._checked(request.turn), call.current().identity
        async with self._slots.taken(), self._turns.run(turn, caller) as running:
            await context.send_initial_metadata(self._headers_of(running.started))
            sequence = 1
            yield translate.stream_response(running.started, sequence=sequence, replica=self._replica)
            answer = with_heartbeats(running.events(), interval_seconds=self._heartbeat_seconds, most=MOST_EVENTS)
            async with aclosing(answer) as groups:
                async for events in groups:
                    if not events:
                        yield pb.ExecuteStreamResponse(sequence=sequence, heartbeat=pb.Heartbeat())
                    for message in self._messages(events, after=sequence, grouped=request.group_events):
                        yield message
                    sequence += len(events)
        self._completed(request.turn, caller)

    async def GetSession(self, request: pb.GetSessionRequest, context: Context) -> pb.GetSessionResponse:
        caller = call.current().identity
        require_checked(caller, "for sessions")
        _require_id("session_id", request.session_id)
        session = await self._sessions.load(caller.tenant, request.session_id)
        if not session.messages:
            raise ShoalError(
                Reason.SESSION_NOT_FOUND, f"There is no session {request.session_id!r}.", field="session_id"
            )
        return pb.GetSessionResponse(
            session_id=request.session_id,
            messages=[translate.message_out(message) for message in session.messages],
            expires=translate.timestamp(self._clock() + session.expires_in_seconds),
        )

    async def DeleteSession(self, request: pb.DeleteSessionRequest, context: Context) -> pb.DeleteSessionResponse:
        caller = call.current().identity
        require_checked(caller, "for sessions")
        _require_id("session_id", request.session_id)
        existed = await self._sessions.delete(caller.tenant, request.session_id)
        return pb.DeleteSessionResponse(existed=existed)

    async def GetPreferences(self, request: pb.GetPreferencesRequest, context: Context) -> pb.GetPreferencesResponse:
        caller = call.current().identity
        require_api_key(caller, "to keep preferences")
        _require_id("user_id", request.user_id)
        kept = await self._preferences.get(caller.tenant, request.user_id)
        return pb.GetPreferencesResponse(preferences=to_struct(kept.values), version=kept.version)

    async def PutPreferences(self, request: pb.PutPreferencesRequest, context: Context) -> pb.PutPreferencesResponse:
        caller = call.current().identity
        require_api_key(caller, "to keep preferences")
        _require_id("user_id", request.user_id)
        values = from_struct(request.preferences, field="preferences")
        if len(msgspec.json.encode(values)) > PREFERENCES_MAX_BYTES:
            raise field_invalid("preferences", f"have at most {PREFERENCES_MAX_BYTES:,} bytes as JSON")
        expected = request.expected_version if request.HasField("expected_version") else None
        version = await self._preferences.put(caller.tenant, request.user_id, values, expected_version=expected)
        return pb.PutPreferencesResponse(version=version)

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        models = await self._catalog.models()
        return pb.ListModelsResponse(
            models=[
                pb.Model(id=model.id, owned_by=model.owned_by, created=translate.timestamp(model.created))
                for model in models
            ]
        )

    def _messages(
        self, events: Sequence[AnswerEvent], *, after: int, grouped: bool
    ) -> Iterable[pb.ExecuteStreamResponse]:
        """Numbered from the number `after` on."""
        messages = [
            translate.stream_response(event, sequence=number, replica=self._replica)
            for number, event in enumerate(events, after + 1)
        ]
        return translate.in_groups(messages, max_bytes=GROUP_MAX_BYTES) if grouped else messages

    def _checked(self, request: pb.ExecuteRequest) -> TurnRequest:
        turn = translate.turn_request(request)
        check(turn, task_max_bytes=self._task_max_bytes)
        return turn

    def _completed(self, request: pb.ExecuteRequest, caller: Identity) -> None:
        """Another answer may now be kept in place of the one that was found before."""
        if request.cache.mode == pb.CACHE_MODE_REFRESH:
            self._near.forget(request, caller, self._monotonic())

    def _headers_of(self, started: Started) -> tuple[tuple[str, str], ...]:
        return self._headers(_cache_header(started.cache), started.cache.key)

    def _headers(self, cache: str, key: str) -> tuple[tuple[str, str], ...]:
        served = ((call.REPLICA_HEADER, self._replica), (call.CACHE_HEADER, cache))
        return (*served, (call.CACHE_KEY_HEADER, key)) if key else served


def _cache_header(report: CacheReport) -> str:
    """Such as "miss", "hit; level=l1" and "hit; level=l2; stale"."""
    level = [f"level={report.level}"] if report.level else []
    return "; ".join([str(report.status), *level, *(["stale"] if report.is_stale else [])])


def _require_id(field: str, value: str) -> None:
    if not value:
        raise field_required(field)
    check_id(field, value)

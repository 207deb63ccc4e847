"""One turn of an agent, told top to bottom."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from meshkit.answer_key import AnswerIdentity, answer_key
from meshkit.errors import Reason, ShoalError
from meshkit.identity import Identity, require_api_key, require_checked
from services.agent import cacheability, prompt
from services.agent.conversation import AnswerEvent, Completed, Delta, Message, Role, ToolCall, Usage
from services.agent.metering import Meter
from services.agent.model_catalog import Choice, ModelCatalog
from services.agent.ports import Agent, AgentTurn, AnswerCache, CachedAnswer, PreferenceStore, Session, SessionStore
from services.agent.pricing import PriceList
from services.agent.request import NEW_SESSION, TurnRequest
from services.agent.reservations import NoReservation, Reservation, Reserver

RESPONSE_POLICY = "response"


class CacheStatus(StrEnum):
    HIT = "hit"
    MISS = "miss"
    BYPASS = "bypass"


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a turn when it begins."""

    id: str
    stream_id: str
    model: str
    why: str
    cache_status: CacheStatus
    cache_level: str = ""
    cache_age_seconds: float = 0.0
    session_id: str
    created: float
    """Unix time in seconds."""


NO_SESSION = Session(epoch=0, messages=(), expires_in_seconds=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """A turn that is about to begin: all that was found out before."""

    caller: Identity
    choice: Choice
    work: AgentTurn
    task: Message | None
    session: Session
    session_id: str
    key: str
    use_cache: bool
    cached: CachedAnswer | None


class TurnRunner:
    """Runs turns. One for the whole process; it keeps nothing between turns."""

    def __init__(
        self,
        *,
        agent: Agent,
        catalog: ModelCatalog,
        prices: PriceList,
        sessions: SessionStore,
        preferences: PreferenceStore,
        cache: AnswerCache,
        reserver: Reserver,
        system_prompt: str,
        mint_id: Callable[[str], str],
        clock: Callable[[], float],
    ) -> None:
        """`mint_id` makes an unguessable id with the given prefix; `clock` is Unix time in seconds."""
        self._agent = agent
        self._catalog = catalog
        self._prices = prices
        self._sessions = sessions
        self._preferences = preferences
        self._cache = cache
        self._reserver = reserver
        self._system_prompt = system_prompt
        self._mint_id = mint_id
        self._clock = clock

    @asynccontextmanager
    async def run(
        self, request: TurnRequest, caller: Identity
    ) -> AsyncIterator[tuple[Started, AsyncGenerator[AnswerEvent, None]]]:
        """Begins a turn: what is known of it, and the events of its answer, which is computed while they are read.

        The request must have been checked. Whoever reads events closes them, which stops the model. A turn that does
        not reach its end is neither cached nor remembered; what it used of the model is settled all the same.
        """
        turn = await self._prepare(request, caller)
        async with self._reserved(turn) as reservation:
            yield self._started(turn), self._answer(turn, reservation)

    async def _prepare(self, request: TurnRequest, caller: Identity) -> _Turn:
        choice = await self._catalog.choose(request.model)
        if self._prices.is_paid(choice.model):
            require_checked(caller, "for models that cost money", field="model")
        session, preferences = await self._load(request, caller)
        task = prompt.user_message(request.task, request.context) if request.task else None
        history = session.messages or request.history
        key = self._key(request, caller, history=history, preferences=preferences)
        use_cache = cacheability.may_use_cache(request)
        return _Turn(
            caller=caller,
            choice=choice,
            work=AgentTurn(
                model=choice.model,
                messages=prompt.compose(
                    system_prompt=self._system_prompt, preferences=preferences, history=history, task=task
                ),
                sampling=request.sampling,
                tools=request.tools,
                tool_choice=request.tool_choice,
                tenant=caller.tenant,
            ),
            task=task,
            session=session,
            session_id=self._mint_id("session") if request.session_id == NEW_SESSION else request.session_id,
            key=key,
            use_cache=use_cache,
            cached=await self._cache.open(key) if use_cache else None,
        )

    def _reserved(self, turn: _Turn) -> AbstractAsyncContextManager[Reservation | NoReservation]:
        if turn.cached is None and turn.caller.metered:
            return self._reserver.held(turn.work)
        return nullcontext(NoReservation(Meter(turn.work)))

    async def _answer(self, turn: _Turn, reservation: Reservation | NoReservation) -> AsyncGenerator[AnswerEvent, None]:
        events: list[AnswerEvent] = []
        async with aclosing(self._cached_or_computed(turn, reservation.meter)) as answering:
            async for event in answering:
                events.append(event)
                if not isinstance(event, Completed):
                    yield event
        await reservation.settle()  # The model has done its part.
        completed = _completed(events)
        if turn.use_cache and turn.cached is None and cacheability.may_be_kept(completed):
            await self._cache.store(turn.key, model=turn.choice.model, events=events)
        if turn.session_id:
            await self._remember(turn, events)
        # Only now, so that whoever has seen the end finds the answer kept, the session grown and the place free.
        yield completed

    async def _load(self, request: TurnRequest, caller: Identity) -> tuple[Session, dict[str, Any]]:
        """Session and preferences together; when one of them fails, the other is given up."""
        try:
            async with asyncio.TaskGroup() as loading:
                session = loading.create_task(self._load_session(request, caller))
                preferences = loading.create_task(self._load_preferences(request, caller))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return session.result(), preferences.result()

    async def _load_session(self, request: TurnRequest, caller: Identity) -> Session:
        if request.session_id:
            require_checked(caller, "for sessions", field="session_id")
        if request.session_id in ("", NEW_SESSION):
            return NO_SESSION
        session = await self._sessions.load(caller.tenant, request.session_id)
        if caller.is_anonymous and not session.messages:
            raise ShoalError(
                Reason.SESSION_NOT_FOUND,
                f"There is no session {request.session_id!r}. Without an API key, begin one with session_id 'new'.",
                field="session_id",
            )
        return session

    async def _load_preferences(self, request: TurnRequest, caller: Identity) -> dict[str, Any]:
        if not request.user_id:
            return {}
        require_api_key(caller, "to use preferences (user_id)", field="user_id")
        return (await self._preferences.get(caller.tenant, request.user_id)).values

    def _key(
        self, request: TurnRequest, caller: Identity, *, history: Sequence[Message], preferences: dict[str, Any]
    ) -> str:
        return answer_key(
            AnswerIdentity(
                tenant=caller.tenant,
                policy=RESPONSE_POLICY,
                agent=f"{self._agent.name}/{self._agent.version}",
                requested_model=request.model,
                parameters=request.sampling,
                system_prompt=self._system_prompt,
                tools=(request.tools, request.tool_choice),
                task=request.task,
                context=request.context,
                preferences=preferences,
                history=history,
            )
        )

    def _started(self, turn: _Turn) -> Started:
        started = Started(
            id=self._mint_id("turn"),
            stream_id=self._mint_id("stream"),
            model=turn.choice.model,
            why=turn.choice.why,
            cache_status=CacheStatus.MISS if turn.use_cache else CacheStatus.BYPASS,
            session_id=turn.session_id,
            created=self._clock(),
        )
        if turn.cached is None:
            return started
        return msgspec.structs.replace(
            started,
            model=turn.cached.model,
            why=f"{turn.choice.why} when this answer was computed",
            cache_status=CacheStatus.HIT,
            cache_level=turn.cached.level,
            cache_age_seconds=turn.cached.age_seconds,
        )

    async def _cached_or_computed(self, turn: _Turn, meter: Meter) -> AsyncGenerator[AnswerEvent, None]:
        """The answer: replayed, or computed, counted and priced."""
        if turn.cached is not None:
            for event in turn.cached.events:
                yield event
            return
        meter.begin()
        try:
            async with aclosing(self._agent.run(turn.work)) as events:
                async for event in events:
                    meter.count(event)
                    yield self._prices.priced(turn.choice.model, event) if isinstance(event, Usage) else event
        except ShoalError as error:
            meter.fail(error)
            raise
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            # The agent's own: let through, it would end the RPC without a word to the caller.
            raise _broke_off() from error

    async def _remember(self, turn: _Turn, events: Sequence[AnswerEvent]) -> None:
        text = "".join(event.text for event in events if isinstance(event, Delta))
        calls = tuple(event for event in events if isinstance(event, ToolCall))
        answer = Message(Role.ASSISTANT, text, tool_calls=calls)
        kept = await self._sessions.append(
            turn.caller.tenant,
            turn.session_id,
            epoch=turn.session.epoch,
            messages=[turn.task, answer] if turn.task else [answer],
        )
        if not kept:
            raise ShoalError(
                Reason.SESSION_DELETED, "The session was deleted while this turn ran; the turn was not kept in it."
            )


def _completed(events: Sequence[AnswerEvent]) -> Completed:
    if events and isinstance(events[-1], Completed):
        return events[-1]
    raise _broke_off()


def _broke_off() -> ShoalError:
    return ShoalError(Reason.MODEL_UNAVAILABLE, "The agent broke off before its answer was complete.")

"""One turn of an agent, told top to bottom."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from enum import StrEnum
from typing import Any

import msgspec

from meshkit.answer_key import AnswerIdentity, answer_key
from meshkit.errors import Reason, ShoalError
from meshkit.identity import Identity, require_api_key
from services.agent import cacheability, prompt
from services.agent.conversation import AnswerEvent, Completed, Delta, Message, Role, ToolCall, Usage
from services.agent.model_catalog import Choice, ModelCatalog
from services.agent.ports import Agent, AgentTurn, AnswerCache, CachedAnswer, PreferenceStore, Session, SessionStore
from services.agent.pricing import PriceList
from services.agent.request import NEW_SESSION, TurnRequest

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
        self._system_prompt = system_prompt
        self._mint_id = mint_id
        self._clock = clock

    async def begin(self, request: TurnRequest, caller: Identity) -> tuple[Started, AsyncGenerator[AnswerEvent, None]]:
        """Begins a turn and returns the events of its answer, which is computed while they are read.

        The request must have been checked. Closing the events stops the model; a turn that does not reach its end is
        neither cached nor remembered.
        """
        choice = await self._catalog.choose(request.model)
        session, preferences = await self._load(request, caller)
        session_id = self._mint_id("session") if request.session_id == NEW_SESSION else request.session_id
        task = prompt.user_message(request.task, request.context) if request.task else None
        history = session.messages or request.history
        messages = prompt.compose(
            system_prompt=self._system_prompt, preferences=preferences, history=history, task=task
        )
        key = self._key(request, caller, history=history, preferences=preferences)
        use_cache = cacheability.may_use_cache(request)
        cached = await self._cache.open(key) if use_cache else None

        async def answer() -> AsyncGenerator[AnswerEvent, None]:
            events: list[AnswerEvent] = []
            async with aclosing(self._cached_or_computed(request, caller, choice, messages, cached)) as answering:
                async for event in answering:
                    events.append(event)
                    if not isinstance(event, Completed):
                        yield event
            completed = _completed(events)
            if use_cache and cached is None and cacheability.may_be_kept(completed):
                await self._cache.store(key, model=choice.model, events=events)
            if session_id:
                await self._remember(caller, session_id, session, task, events)
            # Only now, so that whoever has seen the end finds the answer kept and the session grown.
            yield completed

        return self._started(choice, session_id, cached=cached, use_cache=use_cache), answer()

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
        require_api_key(caller, "to use preferences (user_id)")
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

    def _started(self, choice: Choice, session_id: str, *, cached: CachedAnswer | None, use_cache: bool) -> Started:
        started = Started(
            id=self._mint_id("turn"),
            stream_id=self._mint_id("stream"),
            model=choice.model,
            why=choice.why,
            cache_status=CacheStatus.MISS if use_cache else CacheStatus.BYPASS,
            session_id=session_id,
            created=self._clock(),
        )
        if cached is None:
            return started
        return msgspec.structs.replace(
            started,
            model=cached.model,
            why=f"{choice.why} when this answer was computed",
            cache_status=CacheStatus.HIT,
            cache_level=cached.level,
            cache_age_seconds=cached.age_seconds,
        )

    async def _cached_or_computed(
        self,
        request: TurnRequest,
        caller: Identity,
        choice: Choice,
        messages: tuple[Message, ...],
        cached: CachedAnswer | None,
    ) -> AsyncGenerator[AnswerEvent, None]:
        """The answer: replayed, or computed and priced."""
        if cached is not None:
            for event in cached.events:
                yield event
            return
        work = AgentTurn(
            model=choice.model,
            messages=messages,
            sampling=request.sampling,
            tools=request.tools,
            tool_choice=request.tool_choice,
            tenant=caller.tenant,
        )
        try:
            async with aclosing(self._agent.run(work)) as events:
                async for event in events:
                    yield self._prices.priced(choice.model, event) if isinstance(event, Usage) else event
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            # The agent's own: let through, it would end the RPC without a word to the caller.
            raise _broke_off() from error

    async def _remember(
        self, caller: Identity, session_id: str, session: Session, task: Message | None, events: Sequence[AnswerEvent]
    ) -> None:
        text = "".join(event.text for event in events if isinstance(event, Delta))
        calls = tuple(event for event in events if isinstance(event, ToolCall))
        answer = Message(Role.ASSISTANT, text, tool_calls=calls)
        kept = await self._sessions.append(
            caller.tenant, session_id, epoch=session.epoch, messages=[task, answer] if task else [answer]
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

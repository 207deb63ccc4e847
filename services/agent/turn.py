"""One turn of an agent, told top to bottom."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from meshkit.errors import Reason, ShoalError
from meshkit.identity import Identity, require_checked
from meshkit.ids import NEW_SESSION
from services.agent import cacheability, prompt
from services.agent.agent_run import AgentRun, AgentRunner, Assignment
from services.agent.answer_keys import response_key
from services.agent.conversation import AnswerEvent, Completed, Message, Usage
from services.agent.memory import Memory
from services.agent.model_catalog import Choice, ModelCatalog
from services.agent.ports import (
    Agent,
    AgentTurn,
    AnswerCache,
    CachedAnswer,
    CachedKind,
    Lead,
    Lifetime,
    Session,
)
from services.agent.pricing import PriceList
from services.agent.renewals import Renewals
from services.agent.report import CacheReport, CacheStatus, Started
from services.agent.request import CacheControl, CacheMode, TurnRequest
from services.agent.reservations import Reserver
from services.agent.time_words import TimeWords


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """A turn that is about to begin: all that was found out before."""

    caller: Identity
    choice: Choice
    work: AgentTurn
    cache: CacheControl
    task: Message | None
    session: Session
    session_id: str
    key: str
    """Empty if the cache is not to be used."""
    found: CachedAnswer | Lead | None


class Replay:
    """An answer from the cache, in place of the agent's run."""

    def __init__(self, answer: CachedAnswer) -> None:
        self._answer = answer

    async def events(self) -> AsyncGenerator[AnswerEvent, None]:
        for event in await self.whole():
            yield event

    async def whole(self) -> Sequence[AnswerEvent]:
        # That it is cached says the report; of what it was made when it was computed is no news.
        return [
            msgspec.structs.replace(event, from_cache=False) if isinstance(event, Usage) else event
            for event in self._answer.events
        ]

    async def finish(self, events: Sequence[AnswerEvent]) -> Lifetime:
        """The lifetime of the whole answer, of which these are the events."""
        return self._answer.lifetime


class RunningTurn:
    """A turn that has begun."""

    def __init__(
        self,
        started: Started,
        answer: Replay | AgentRun,
        *,
        remember: Callable[[Sequence[AnswerEvent]], Awaitable[None]],
    ) -> None:
        """`remember` is told the whole answer."""
        self.started = started
        self.cache = started.cache
        """How the cache was used. Whether a new answer is kept is told in it once the end was seen."""
        self._answer = answer
        self._remember = remember

    async def events(self) -> AsyncGenerator[AnswerEvent, None]:
        """The answer, which is computed while it is read; to be read once. Closing it stops the agent."""
        events: list[AnswerEvent] = []
        async with aclosing(self._answer.events()) as answering:
            async for event in answering:
                events.append(event)
                if not isinstance(event, Completed):
                    yield event
        await self._finish(events)
        # Only now, so that whoever has seen the end finds the answer kept, the session grown and the place free.
        yield events[-1]

    async def whole(self) -> Sequence[AnswerEvent]:
        """The answer when it is complete, in place of `events`. Cancelling it stops the agent."""
        events = await self._answer.whole()
        await self._finish(events)
        return events

    async def _finish(self, events: Sequence[AnswerEvent]) -> None:
        lifetime = await self._answer.finish(events)
        self.cache = msgspec.structs.replace(self.cache, lifetime=lifetime)
        await self._remember(events)


class TurnRunner:
    """Runs turns. One for the whole process; it keeps nothing between turns."""

    def __init__(
        self,
        *,
        agent: Agent,
        catalog: ModelCatalog,
        prices: PriceList,
        memory: Memory,
        cache: AnswerCache,
        time_words: TimeWords,
        reserver: Reserver,
        renewals: Renewals,
        most_tokens_in_one_piece: int,
        system_prompt: str,
        mint_id: Callable[[str], str],
        clock: Callable[[], float],
    ) -> None:
        """`renewals` are closed by whoever made them. `most_tokens_in_one_piece`: up to which max_tokens a model is
        asked so where nobody sees the pieces. `mint_id` makes an unguessable id with the given prefix. `clock` is Unix
        time in seconds."""
        self._agent = agent
        self._catalog = catalog
        self._prices = prices
        self._memory = memory
        self._cache = cache
        self._time_words = time_words
        self._runner = AgentRunner(
            agent=agent,
            prices=prices,
            cache=cache,
            reserver=reserver,
            most_tokens_in_one_piece=most_tokens_in_one_piece,
        )
        self._renewals = renewals
        self._system_prompt = system_prompt
        self._mint_id = mint_id
        self._clock = clock

    @asynccontextmanager
    async def run(self, request: TurnRequest, caller: Identity) -> AsyncIterator[RunningTurn]:
        """Begins a turn.

        The request must have been checked. Whoever reads events closes them, which stops the model. A turn that does
        not reach its end is neither cached nor remembered; what it used of the model is settled all the same.
        """
        turn = await self._prepare(request, caller)
        if isinstance(turn.found, CachedAnswer):
            if turn.found.renewal:
                renewal = _assignment(turn, turn.found.renewal, _as_before(turn.found))
                self._renewals.begin(partial(self._runner.complete, renewal))
            yield self._running(turn, Replay(turn.found))
        else:
            async with self._runner.begun(_assignment(turn, turn.found, turn.cache)) as run:
                yield self._running(turn, run)

    async def _prepare(self, request: TurnRequest, caller: Identity) -> _Turn:
        choice = await self._catalog.choose(request.model)
        if self._prices.is_paid(choice.model):
            require_checked(caller, "for models that cost money", field="model")
        session, preferences = await self._memory.load(request, caller)
        task = prompt.user_message(request.task, request.context) if request.task else None
        history = session.messages or request.history
        key = self._key(request, caller, history=history, preferences=preferences)
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
            cache=request.cache,
            task=task,
            session=session,
            session_id=self._mint_id("session") if request.session_id == NEW_SESSION else request.session_id,
            key=key,
            found=await self._look_up(key, request.cache),
        )

    def _key(
        self, request: TurnRequest, caller: Identity, *, history: Sequence[Message], preferences: dict[str, Any]
    ) -> str:
        if not cacheability.may_use_cache(request, history=history, time_words=self._time_words):
            return ""
        return response_key(
            request,
            tenant=caller.tenant,
            agent=f"{self._agent.name}/{self._agent.version}",
            system_prompt=self._system_prompt,
            history=history,
            preferences=preferences,
        )

    async def _look_up(self, key: str, asked: CacheControl) -> CachedAnswer | Lead | None:
        refresh, only = asked.mode is CacheMode.REFRESH, asked.mode is CacheMode.ONLY
        found = None
        if key:
            found = await self._cache.open(key, CachedKind.RESPONSE, tags=asked.tags, refresh=refresh, only=only)
        if only and not isinstance(found, CachedAnswer):
            raise ShoalError(
                Reason.NOT_CACHED,
                "No answer to this is cached; ask with another cache.mode to have it computed.",
                field="cache.mode",
            )
        return found

    def _running(self, turn: _Turn, answer: Replay | AgentRun) -> RunningTurn:
        return RunningTurn(self._started(turn), answer, remember=partial(self._remember, turn))

    def _started(self, turn: _Turn) -> Started:
        started = Started(
            id=self._mint_id("turn"),
            stream_id=self._mint_id("stream"),
            model=turn.choice.model,
            why=turn.choice.why,
            cache=_report(turn),
            session_id=turn.session_id,
            created=self._clock(),
        )
        if not isinstance(turn.found, CachedAnswer):
            return started
        return msgspec.structs.replace(
            started, model=turn.found.model, why=f"{turn.choice.why} when this answer was computed"
        )

    async def _remember(self, turn: _Turn, answer: Sequence[AnswerEvent]) -> None:
        if turn.session_id:
            await self._memory.remember(
                turn.caller.tenant, turn.session_id, epoch=turn.session.epoch, task=turn.task, answer=answer
            )


def _report(turn: _Turn) -> CacheReport:
    """How the cache was used, as far as it is known at the beginning."""
    report = CacheReport(
        status=CacheStatus.MISS if turn.key else CacheStatus.BYPASS, key=turn.key, public=turn.cache.public
    )
    if not isinstance(turn.found, CachedAnswer):
        return report
    return msgspec.structs.replace(
        report,
        status=CacheStatus.HIT,
        level=turn.found.level,
        age_seconds=turn.found.age_seconds,
        is_stale=turn.found.is_stale,
        lifetime=turn.found.lifetime,
    )


def _assignment(turn: _Turn, lead: Lead | None, cache: CacheControl) -> Assignment:
    """What the agent computes, to be kept as `cache` says."""
    return Assignment(work=turn.work, is_metered=turn.caller.metered, lead=lead, cache=cache)


def _as_before(stale: CachedAnswer) -> CacheControl:
    """To keep what is computed in place of a stale answer as that was kept."""
    return CacheControl(mode=CacheMode.REFRESH, ttl_seconds=stale.asked_ttl_seconds, tags=stale.tags)

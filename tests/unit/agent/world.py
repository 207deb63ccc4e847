"""A turn runner with everything around it in memory."""

import asyncio
import dataclasses
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Never

import msgspec

from meshkit import call
from meshkit.call import Call
from meshkit.errors import Reason, ShoalError
from meshkit.identity import Authentication, Identity
from services.agent.conversation import AnswerEvent, Completed, Delta, FinishReason, Usage
from services.agent.memory import Memory
from services.agent.model_catalog import ModelCatalog
from services.agent.ports import CachedAnswer, CachedKind, Lead, Lifetime
from services.agent.preference_store import MemoryPreferenceStore
from services.agent.pricing import PriceList
from services.agent.renewals import Renewals
from services.agent.report import CacheReport, Started
from services.agent.request import CacheControl, TurnRequest
from services.agent.reservations import Reserver
from services.agent.session_store import MemorySessionStore
from services.agent.time_words import TimeWords
from services.agent.turn import RunningTurn, TurnRunner
from tests.unit.agent.scripted_agent import ScriptedAgent
from tests.unit.agent.scripted_model import ScriptedModel

TTL_SECONDS = 3600.0
STALE_SECONDS = 60.0
NOW = 1_800_000_000.0
STOP = Completed(FinishReason.STOP)
HELLO: Sequence[AnswerEvent] = (Delta("Hel"), Delta("lo"), Usage(1_000_000, 2_000_000), STOP)
PRICED: Sequence[AnswerEvent] = (Delta("Hel"), Delta("lo"), Usage(1_000_000, 2_000_000, 21.0), STOP)
"""HELLO as a turn of the model "small" gives it."""
TASK = TurnRequest(task="Say hello.")
ACME = Identity("acme", "premium", "key_1", Authentication.API_KEY, NOW)
METERED = Identity("acme", "premium", "key_1", Authentication.API_KEY, NOW, metered=True)
UNCHECKED = Identity("unchecked", "anonymous", "", Authentication.UNCHECKED, NOW)
ANONYMOUS = Identity("anonymous-1", "anonymous", "203.0.113.7/32", Authentication.ANONYMOUS, NOW)


def asking(**control: Any) -> TurnRequest:
    """For TASK, with the cache used like this."""
    return msgspec.structs.replace(TASK, cache=CacheControl(**control))


def text_of(answer: Sequence[AnswerEvent]) -> str:
    return "".join(event.text for event in answer if isinstance(event, Delta))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One look-up."""

    key: str
    kind: CachedKind = CachedKind.RESPONSE
    part_of: str = ""
    tags: Sequence[str] = ()
    generation: int = 0
    refresh: bool = False
    only: bool = False


class MemoryCache:
    """Answers in a dict, as the cache service keeps them, but of a fixed age; remembers what it was asked for."""

    def __init__(self) -> None:
        self.kept: dict[str, CachedAnswer] = {}
        self.leads: dict[str, Lead] = {}
        """The leads with which answers were handed in, by key."""
        self.look_ups: list[Asked] = []
        self.invalidated: set[str] = set()
        """Keys and tags whose answers are not found any more, until another is kept."""
        self.age_seconds = 7.0
        self.is_gone = False
        self._renewed: set[str] = set()

    async def open(
        self,
        key: str,
        kind: CachedKind,
        *,
        part_of: str = "",
        tags: Sequence[str] = (),
        generation: int = 0,
        refresh: bool = False,
        only: bool = False,
    ) -> CachedAnswer | Lead | None:
        self.look_ups.append(
            Asked(key=key, kind=kind, part_of=part_of, tags=tags, generation=generation, refresh=refresh, only=only)
        )
        if self.is_gone:
            return None
        lead = Lead(key, kind, generation=len(self.look_ups))
        if not refresh and self.invalidated & {key, *tags}:
            return dataclasses.replace(lead, refresh=True)
        if refresh or key not in self.kept:
            return lead
        answer = dataclasses.replace(self.kept[key], age_seconds=self.age_seconds)
        if answer.is_stale and not only and key not in self._renewed:
            self._renewed.add(key)
            return dataclasses.replace(answer, renewal=lead)
        return answer

    async def keep(
        self,
        lead: Lead,
        *,
        model: str,
        events: Sequence[AnswerEvent],
        tags: Sequence[str] = (),
        ttl_seconds: int | None = None,
    ) -> Lifetime | None:
        if self.is_gone:
            return None
        lifetime = Lifetime(ttl_seconds=ttl_seconds or TTL_SECONDS, stale_seconds=STALE_SECONDS)
        self.leads[lead.key] = lead
        self.invalidated -= {lead.key, *tags}
        self.kept[lead.key] = CachedAnswer(
            model=model,
            events=tuple(events),
            level="l1",
            age_seconds=0.0,
            lifetime=lifetime,
            tags=tuple(tags),
            asked_ttl_seconds=ttl_seconds,
        )
        return lifetime


class MemoryQuota:
    """Reservations in a dict, as a limiter keeps them: every operation takes effect half-way through its call."""

    def __init__(self, *, places: int = 1000, refusal: ShoalError | None = None) -> None:
        self.places = places
        self.refusal = refusal
        self.asked: list[str] = []
        """The ids that reservations were asked for by."""
        self.running: dict[str, int] = {}
        """Tokens that are set aside, by reservation."""
        self.settled: list[tuple[str, int]] = []
        """Each settlement: the reservation and the tokens that were used."""
        self.renewed = asyncio.Event()
        self.settling: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0)
        """What a settlement waits for."""

    async def reserve(self, reservation_id: str, *, tokens: int, ttl_seconds: float) -> None:
        self.asked.append(reservation_id)
        await asyncio.sleep(0)
        if self.refusal:
            raise self.refusal
        if len(self.running) >= self.places:
            raise ShoalError(Reason.RATE_LIMITED, "No place.", retry_after_seconds=1.0)
        self.running[reservation_id] = tokens
        await asyncio.sleep(0)

    async def renew(self, reservation_id: str, *, ttl_seconds: float) -> bool:
        self.renewed.set()
        return reservation_id in self.running

    async def settle(self, reservation_id: str, *, used_tokens: int) -> None:
        await self.settling()
        self.running.pop(reservation_id, None)
        self.settled.append((reservation_id, used_tokens))
        await asyncio.sleep(0)


@dataclass
class World:
    """What a turn meets. Ids are counted up by kind; time stands still."""

    agent: ScriptedAgent = field(default_factory=lambda: ScriptedAgent(*HELLO))
    sessions: MemorySessionStore = field(default_factory=lambda: MemorySessionStore(lambda: NOW))
    preferences: MemoryPreferenceStore = field(default_factory=MemoryPreferenceStore)
    cache: MemoryCache = field(default_factory=MemoryCache)
    quota: MemoryQuota = field(default_factory=MemoryQuota)
    ttl_seconds: float = 60.0
    system_prompt: str = "Be brief."
    models: Sequence[str] = ("small", "large")
    renewals_at_once: int = 16
    most_tokens_in_one_piece: int = 256

    def __post_init__(self) -> None:
        numbers, reservations = itertools.count(1), itertools.count(1)
        self.renewals = Renewals(most=self.renewals_at_once, seconds=60)
        self.runner = TurnRunner(
            agent=self.agent,
            catalog=ModelCatalog(provider=ScriptedModel(), names=self.models, clock=lambda: NOW),
            prices=PriceList.parse("small=1/10"),
            memory=Memory(sessions=self.sessions, preferences=self.preferences),
            cache=self.cache,
            time_words=TimeWords.parse(""),
            reserver=Reserver(
                self.quota,
                answer_tokens=1000,
                ttl_seconds=self.ttl_seconds,
                mint_id=lambda prefix: f"{prefix}_{next(reservations)}",
            ),
            renewals=self.renewals,
            most_tokens_in_one_piece=self.most_tokens_in_one_piece,
            system_prompt=self.system_prompt,
            mint_id=lambda prefix: f"{prefix}_{next(numbers)}",
            clock=lambda: NOW,
        )

    @asynccontextmanager
    async def running(self, request: TurnRequest, caller: Identity = ACME) -> AsyncIterator[RunningTurn]:
        """A turn in the middle of its call."""
        serving = Call("request-1", caller, "signed", deadline=time.monotonic() + 60)
        with call.serving(serving):
            async with self.runner.run(request, caller) as running:
                yield running

    async def turn(self, request: TurnRequest, caller: Identity = ACME) -> tuple[Started, list[AnswerEvent]]:
        async with self.running(request, caller) as running, aclosing(running.events()) as events:
            return running.started, [event async for event in events]

    async def reported(self, request: TurnRequest, caller: Identity = ACME) -> CacheReport:
        """How a turn used the cache, as it is known at its end."""
        async with self.running(request, caller) as running, aclosing(running.events()) as events:
            async for _ in events:
                pass
            return running.cache

    async def started(self, request: TurnRequest, caller: Identity = ACME) -> Started:
        return (await self.turn(request, caller))[0]

    async def events(self, request: TurnRequest, caller: Identity = ACME) -> list[AnswerEvent]:
        return (await self.turn(request, caller))[1]

    async def key_of(self, request: TurnRequest, caller: Identity = ACME) -> str:
        await self.events(request, caller)
        return self.cache.look_ups[-1].key


class UnreachableSessionStore(MemorySessionStore):
    """The state Redis is gone."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW)

    async def load(self, tenant: str, session_id: str) -> Never:
        raise ShoalError(Reason.STATE_UNAVAILABLE, "gone")

    async def append(self, tenant: str, session_id: str, *, epoch: int, messages: Sequence[object]) -> Never:
        raise ShoalError(Reason.STATE_UNAVAILABLE, "gone")


async def all_else_done() -> None:
    """Waits until nothing goes on beside this task."""
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

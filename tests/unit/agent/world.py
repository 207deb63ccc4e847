"""A turn runner with everything around it in memory."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Never

from meshkit.errors import Reason, ShoalError
from meshkit.identity import Authentication, Identity
from services.agent.conversation import AnswerEvent, Completed, Delta, FinishReason, Usage
from services.agent.model_catalog import ModelCatalog
from services.agent.ports import CachedAnswer
from services.agent.preference_store import MemoryPreferenceStore
from services.agent.pricing import PriceList
from services.agent.request import TurnRequest
from services.agent.reservations import Reserver
from services.agent.session_store import MemorySessionStore
from services.agent.turn import Started, TurnRunner
from tests.unit.agent.scripted_agent import ScriptedAgent
from tests.unit.agent.scripted_model import ScriptedModel

NOW = 1_800_000_000.0
STOP = Completed(FinishReason.STOP)
HELLO: Sequence[AnswerEvent] = (Delta("Hel"), Delta("lo"), Usage(1_000_000, 2_000_000), STOP)
ACME = Identity("acme", "premium", "key_1", Authentication.API_KEY, NOW)
METERED = Identity("acme", "premium", "key_1", Authentication.API_KEY, NOW, metered=True)
UNCHECKED = Identity("unchecked", "anonymous", "", Authentication.UNCHECKED, NOW)
ANONYMOUS = Identity("anonymous-1", "anonymous", "203.0.113.7/32", Authentication.ANONYMOUS, NOW)


class MemoryCache:
    """Answers in a dict; remembers which keys were asked for."""

    def __init__(self) -> None:
        self.kept: dict[str, CachedAnswer] = {}
        self.asked: list[str] = []

    async def open(self, key: str) -> CachedAnswer | None:
        self.asked.append(key)
        return self.kept.get(key)

    async def store(self, key: str, *, model: str, events: Sequence[AnswerEvent]) -> None:
        self.kept[key] = CachedAnswer(model, tuple(events), "l1", 7.0)


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

    def __post_init__(self) -> None:
        numbers, reservations = itertools.count(1), itertools.count(1)
        self.runner = TurnRunner(
            agent=self.agent,
            catalog=ModelCatalog(provider=ScriptedModel(), names=self.models, clock=lambda: NOW),
            prices=PriceList.parse("small=1/10"),
            sessions=self.sessions,
            preferences=self.preferences,
            cache=self.cache,
            reserver=Reserver(
                self.quota,
                answer_tokens=1000,
                ttl_seconds=self.ttl_seconds,
                mint_id=lambda prefix: f"{prefix}_{next(reservations)}",
            ),
            system_prompt=self.system_prompt,
            mint_id=lambda prefix: f"{prefix}_{next(numbers)}",
            clock=lambda: NOW,
        )

    async def turn(self, request: TurnRequest, caller: Identity = ACME) -> tuple[Started, list[AnswerEvent]]:
        async with self.runner.run(request, caller) as (started, answer), aclosing(answer):
            return started, [event async for event in answer]

    async def started(self, request: TurnRequest, caller: Identity = ACME) -> Started:
        return (await self.turn(request, caller))[0]

    async def events(self, request: TurnRequest, caller: Identity = ACME) -> list[AnswerEvent]:
        return (await self.turn(request, caller))[1]

    async def key_of(self, request: TurnRequest, caller: Identity = ACME) -> str:
        await self.events(request, caller)
        return self.cache.asked[-1]


class UnreachableSessionStore(MemorySessionStore):
    """The state Redis is gone."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW)

    async def load(self, tenant: str, session_id: str) -> Never:
        raise ShoalError(Reason.STATE_UNAVAILABLE, "gone")

    async def append(self, tenant: str, session_id: str, *, epoch: int, messages: Sequence[object]) -> Never:
        raise ShoalError(Reason.STATE_UNAVAILABLE, "gone")

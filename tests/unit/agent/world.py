"""A turn runner with everything around it in memory."""

import itertools
from collections.abc import Sequence
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
from services.agent.session_store import MemorySessionStore
from services.agent.turn import Started, TurnRunner
from tests.unit.agent.scripted_agent import ScriptedAgent
from tests.unit.agent.scripted_model import ScriptedModel

NOW = 1_800_000_000.0
STOP = Completed(FinishReason.STOP)
HELLO: Sequence[AnswerEvent] = (Delta("Hel"), Delta("lo"), Usage(1_000_000, 2_000_000), STOP)
ACME = Identity("acme", "premium", "key_1", Authentication.API_KEY, NOW)
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


@dataclass
class World:
    """What a turn meets. Ids are counted up by kind; time stands still."""

    agent: ScriptedAgent = field(default_factory=lambda: ScriptedAgent(*HELLO))
    sessions: MemorySessionStore = field(default_factory=lambda: MemorySessionStore(lambda: NOW))
    preferences: MemoryPreferenceStore = field(default_factory=MemoryPreferenceStore)
    cache: MemoryCache = field(default_factory=MemoryCache)
    system_prompt: str = "Be brief."
    models: Sequence[str] = ("small", "large")

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        self.runner = TurnRunner(
            agent=self.agent,
            catalog=ModelCatalog(provider=ScriptedModel(), names=self.models, clock=lambda: NOW),
            prices=PriceList.parse("small=1/10"),
            sessions=self.sessions,
            preferences=self.preferences,
            cache=self.cache,
            system_prompt=self.system_prompt,
            mint_id=lambda prefix: f"{prefix}_{next(numbers)}",
            clock=lambda: NOW,
        )

    async def turn(self, request: TurnRequest, caller: Identity = ACME) -> tuple[Started, list[AnswerEvent]]:
        started, answer = await self.runner.begin(request, caller)
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

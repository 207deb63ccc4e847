"""Cache processes in memory: each has a near level of its own; they share a far one, the log and the leases."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from services.cache.answers import Answers, Hit, Lead, Terms
from services.cache.counts import new_counts
from services.cache.entry import Entry, Worth
from services.cache.generations.generation_watcher import GenerationWatcher
from services.cache.generations.generations import Generations
from services.cache.hierarchy import Hierarchy
from services.cache.leases import MemoryLeases
from services.cache.levels.level import Level
from services.cache.place import ALONE, Place, Whole
from services.cache.policies import DEFAULT_POLICIES, LevelName, PolicyName
from services.cache.ttl_tuning import TunedTtl
from tests.memory_generation_log import MemoryGenerationLog
from tests.unit.cache.levels_at_hand import memory

NOW = 1_700_000_000.0
KEY = "ab" * 32
TTL = 3600
STALE = 300
OTHER_KEY = "cd" * 32
PLACE = Place("acme", PolicyName.RESPONSE, KEY)
POLICIES = {
    **DEFAULT_POLICIES,
    PolicyName.RESPONSE: replace(DEFAULT_POLICIES[PolicyName.RESPONSE], stale_seconds=STALE, max_bytes=1000),
    PolicyName.MODEL_OUTPUT: replace(DEFAULT_POLICIES[PolicyName.MODEL_OUTPUT], levels=(LevelName.L2,)),
}


@dataclass(slots=True)
class Shared:
    """What processes share."""

    far: Level = field(default_factory=memory)
    log: MemoryGenerationLog = field(default_factory=MemoryGenerationLog)
    now: float = NOW
    leases: MemoryLeases = field(init=False)

    def __post_init__(self) -> None:
        self.leases = MemoryLeases(lambda: self.now)


class CacheProcess:
    """One process. It has heard of nothing until it is told to."""

    def __init__(self, shared: Shared) -> None:
        generations = Generations()
        self.watcher = GenerationWatcher(shared.log, generations, clock=lambda: shared.now)
        self.counts = new_counts(POLICIES.values())
        self.hierarchy = Hierarchy({LevelName.L1: memory(), LevelName.L2: shared.far}, self.counts)
        self.ttls = {name: TunedTtl(policy, target_hit_rate=0.7) for name, policy in POLICIES.items()}
        self.answers = Answers(
            policies=POLICIES,
            hierarchy=self.hierarchy,
            generations=generations,
            watcher=self.watcher,
            leases=shared.leases,
            ttls=self.ttls,
            counts=self.counts,
            random=Random(1),  # noqa: S311 - the same in every run
        )
        self._shared = shared

    async def open(
        self, place: Place = PLACE, *, whole: Whole = ALONE, refresh: bool = False, only: bool = False
    ) -> Hit | Lead:
        return await self.answers.open(place, whole=whole, refresh=refresh, only=only, now=self._shared.now)

    async def lead(self, place: Place = PLACE, *, whole: Whole = ALONE, refresh: bool = False) -> Lead:
        opened = await self.open(place, whole=whole, refresh=refresh)
        assert isinstance(opened, Lead), "found, though it must not be"
        return opened

    async def hit(self, place: Place = PLACE, *, whole: Whole = ALONE, only: bool = False) -> Hit:
        opened = await self.open(place, whole=whole, only=only)
        assert isinstance(opened, Hit), "not found"
        return opened

    async def keep(
        self,
        lead: Lead,
        *events: bytes,
        place: Place = PLACE,
        tags: Sequence[str] = (),
        ttl_seconds: float | None = None,
        worth: Worth | None = None,
    ) -> Entry | None:
        draft = self.answers.draft(place.policy)
        draft.append(events or [b"answer"])
        terms = Terms(generation=lead.generation, tags=tuple(tags), ttl_seconds=ttl_seconds)
        return await self.answers.keep(place, draft, terms, worth or Worth(), self._shared.now)


async def new_process(shared: Shared | None = None) -> CacheProcess:
    """One that has heard what there is to hear."""
    process = CacheProcess(shared or Shared())
    await process.watcher.hear()
    return process

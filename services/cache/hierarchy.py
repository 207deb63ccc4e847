"""The levels as one cache: looks from near to far, keeps what it finds nearer, and passes over levels that fail."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.cache.entry import Entry
from services.cache.level import Level, LevelName, LevelUnavailableError
from services.cache.policies import Policy


@dataclass(frozen=True, slots=True)
class Found:
    """A live entry and the level that had it."""

    entry: Entry
    level: LevelName


@dataclass(slots=True)
class _Counts:
    """How a level was used since the start."""

    hits: int = 0
    misses: int = 0
    failures: int = 0
    stores: int = 0


@dataclass(frozen=True, slots=True)
class LevelStats:
    """The numbers of one level since the start; the last three are 0 for levels that are shared."""

    level: LevelName
    hits: int
    misses: int
    failures: int
    """Look-ups and stores that were passed over."""
    stores: int
    evictions: int
    entries: int
    size_bytes: int


class Hierarchy:
    """Walks the levels that a policy names. `levels` are given nearest first; `now` is Unix time in seconds."""

    def __init__(self, levels: Mapping[LevelName, Level]) -> None:
        self._levels = levels
        self._counts = {name: _Counts() for name in levels}

    async def get(self, key: str, policy: Policy, now: float) -> Found | None:
        """The nearest live entry. The nearer levels that lack it get it as it is, so its expiry stays what it was."""
        lacking: list[LevelName] = []
        for name in policy.levels:
            counts = self._counts[name]
            try:
                entry = await self._levels[name].get(key, now)
            except LevelUnavailableError:
                counts.failures += 1
                continue
            if entry is not None:
                counts.hits += 1
                await self._store(lacking, key, entry, now)
                return Found(entry, name)
            counts.misses += 1
            lacking.append(name)
        return None

    async def put(self, key: str, entry: Entry, policy: Policy, now: float) -> bool:
        """Keeps the entry at the policy's levels. False if none of them kept it."""
        return await self._store(policy.levels, key, entry, now)

    def stats(self) -> list[LevelStats]:
        """One row per level, nearest first."""
        return [self._stats_of(name) for name in self._levels]

    def _stats_of(self, name: LevelName) -> LevelStats:
        counts = self._counts[name]
        holdings = self._levels[name].holdings()
        return LevelStats(
            level=name,
            hits=counts.hits,
            misses=counts.misses,
            failures=counts.failures,
            stores=counts.stores,
            evictions=holdings.evictions,
            entries=holdings.entries,
            size_bytes=holdings.size_bytes,
        )

    async def _store(self, names: Iterable[LevelName], key: str, entry: Entry, now: float) -> bool:
        kept_anywhere = False
        for name in names:
            try:
                kept = await self._levels[name].put(key, entry, now)
            except LevelUnavailableError:
                self._counts[name].failures += 1
                continue
            self._counts[name].stores += kept
            kept_anywhere |= kept
        return kept_anywhere

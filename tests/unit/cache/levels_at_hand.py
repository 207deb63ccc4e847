"""Levels of the memory and ones that fail in each way, for tests of what is built on levels."""

from services.cache.entry import Entry
from services.cache.eviction.recency_frequency import RecencyFrequency
from services.cache.levels.level import CorruptEntryError, LevelUnavailableError
from services.cache.levels.memory_level import MemoryLevel
from services.cache.policies import Policy


def memory() -> MemoryLevel:
    return MemoryLevel(max_entries=10, max_bytes=10**6, eviction=RecencyFrequency())


class BrokenLevel:
    """A Level that is never available."""

    async def get(self, key: str, now: float) -> Entry | None:
        raise LevelUnavailableError("broken")

    async def put(self, key: str, entry: Entry, policy: Policy, now: float, *, promoted: bool = False) -> bool:
        raise LevelUnavailableError("broken")

    def holdings(self) -> None:
        """It is shared."""


class DamagedLevel:
    """A Level that has something else in place of every entry until one is stored."""

    def __init__(self) -> None:
        self._stored = memory()

    async def get(self, key: str, now: float) -> Entry | None:
        entry = await self._stored.get(key, now)
        if entry is None:
            raise CorruptEntryError(key)
        return entry

    async def put(self, key: str, entry: Entry, policy: Policy, now: float, *, promoted: bool = False) -> bool:
        return await self._stored.put(key, entry, policy, now, promoted=promoted)

    def holdings(self) -> None:
        """It is shared."""

"""The nearest level: the memory of this process, bounded in entries and in bytes."""

import sys
from dataclasses import dataclass

from services.cache import eviction
from services.cache.entry import Entry
from services.cache.eviction import Usage
from services.cache.level import Holdings

OVERHEAD_BYTES = 320
"""What an entry costs besides its key and events: the objects around it and its places in the tables."""


@dataclass(frozen=True, slots=True)
class _Held:
    """An entry in its place."""

    entry: Entry
    size_bytes: int
    usage: Usage


class MemoryLevel:
    """A Level that never fails. Bounds hold at every moment."""

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._held: dict[str, _Held] = {}
        self._size_bytes = 0
        self._evictions = 0

    async def get(self, key: str, now: float) -> Entry | None:
        held = self._held.get(key)
        if held is None:
            return None
        if not held.entry.is_live(now):
            self._remove(key)
            return None
        held.usage.record(now)
        return held.entry

    async def put(self, key: str, entry: Entry, now: float) -> bool:
        """An entry larger than the whole level is not kept, nor one that is older than what is here: a promotion from
        a farther level may arrive after a fresh answer."""
        size_bytes = footprint_bytes(key, entry)
        held = self._held.get(key)
        if size_bytes > self._max_bytes or not entry.is_live(now) or (held and held.entry.created > entry.created):
            return False
        if held:
            self._remove(key)
        self._make_room(size_bytes, now)
        self._held[key] = _Held(entry, size_bytes, Usage(last_used=now))
        self._size_bytes += size_bytes
        return True

    def holdings(self) -> Holdings:
        return Holdings(entries=len(self._held), size_bytes=self._size_bytes, evictions=self._evictions)

    def _make_room(self, size_bytes: int, now: float) -> None:
        """Expired entries go first, then the worst fifth of the rest, as often as it takes."""
        if self._has_room(size_bytes):
            return
        for key in [key for key, held in self._held.items() if not held.entry.is_live(now)]:
            self._remove(key)
        while not self._has_room(size_bytes):
            for key in eviction.worst_fifth({key: held.usage for key, held in self._held.items()}, now):
                self._remove(key)
                self._evictions += 1

    def _has_room(self, size_bytes: int) -> bool:
        return len(self._held) < self._max_entries and self._size_bytes + size_bytes <= self._max_bytes

    def _remove(self, key: str) -> None:
        self._size_bytes -= self._held.pop(key).size_bytes


def footprint_bytes(key: str, entry: Entry) -> int:
    """The memory that an entry takes, key and overhead included."""
    events = sys.getsizeof(entry.events) + sum(map(sys.getsizeof, entry.events))
    return sys.getsizeof(key) + events + OVERHEAD_BYTES

"""The nearest level: the memory of this process, bounded in entries and in bytes."""

import heapq
from dataclasses import dataclass

from services.cache.entry import Entry
from services.cache.eviction.eviction import Eviction
from services.cache.levels.footprint import footprint_bytes
from services.cache.levels.level import Holdings
from services.cache.policies import Policy

EXPIRIES_PER_ENTRY = 1.25
"""The queue of expiries is cleaned up when what was replaced and evicted has made it longer than this."""
FEW_EXPIRIES = 64
"""A queue this short is left as it is."""


@dataclass(frozen=True, slots=True)
class _Held:
    """An entry in its place."""

    entry: Entry
    expires: float
    size_bytes: int


class MemoryLevel:
    """A Level that never fails. Bounds hold at every moment."""

    def __init__(self, *, max_entries: int, max_bytes: int, eviction: Eviction) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._eviction = eviction
        self._held: dict[str, _Held] = {}
        self._expiries: list[tuple[float, str]] = []
        """A heap that has every key with its expiry, and some that are outdated."""
        self._size_bytes = 0
        self._evictions = 0

    async def get(self, key: str, now: float) -> Entry | None:
        held = self._held.get(key)
        if held is None:
            return None
        if now >= held.expires:
            self._remove(key)
            return None
        self._eviction.used(key, now)
        return held.entry

    async def put(self, key: str, entry: Entry, _policy: Policy, now: float, *, promoted: bool = False) -> bool:
        """An entry that may not replace what is here is not kept, nor one larger than the whole level. The latter makes
        what is here go nevertheless: it would be found in place of what farther levels have."""
        here = self._held.get(key)
        stays = here is not None and now < here.expires and not entry.may_replace(here.entry, promoted=promoted)
        if stays or not entry.is_live(now):
            return False
        size_bytes = footprint_bytes(key, entry) + self._eviction.KEY_BYTES
        if size_bytes > self._max_bytes:
            if here:
                self._remove(key)
            return False
        self._let_go(key)
        self._make_room(size_bytes, now)
        self._hold(key, _Held(entry, entry.expires, size_bytes))
        self._eviction.stored(key, now)
        return True

    def holdings(self) -> Holdings:
        return Holdings(entries=len(self._held), size_bytes=self._size_bytes, evictions=self._evictions)

    def _make_room(self, size_bytes: int, now: float) -> None:
        """Expired entries go first, then as many of the others as it takes."""
        if self._has_room(size_bytes):
            return
        while self._expiries and self._expiries[0][0] <= now:
            _, key = heapq.heappop(self._expiries)
            if key in self._held and self._held[key].expires <= now:
                self._remove(key)
        while not self._has_room(size_bytes):
            for victim in self._eviction.victims(now):
                self._evictions += self._let_go(victim)

    def _has_room(self, size_bytes: int) -> bool:
        return len(self._held) < self._max_entries and self._size_bytes + size_bytes <= self._max_bytes

    def _hold(self, key: str, held: _Held) -> None:
        self._held[key] = held
        self._size_bytes += held.size_bytes
        heapq.heappush(self._expiries, (held.expires, key))
        if len(self._expiries) > max(FEW_EXPIRIES, EXPIRIES_PER_ENTRY * len(self._held)):
            self._expiries = [(held.expires, key) for key, held in self._held.items()]
            heapq.heapify(self._expiries)

    def _remove(self, key: str) -> None:
        self._let_go(key)
        self._eviction.removed(key)

    def _let_go(self, key: str) -> bool:
        """Whether there was an entry. What is about to be replaced goes too, and its eviction need not know."""
        held = self._held.pop(key, None)
        if held is None:
            return False
        self._size_bytes -= held.size_bytes
        return True

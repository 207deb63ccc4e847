"""A small memory of answers that may be repeated for a moment without asking the cache again."""

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

import msgspec

LEVEL = "near"
"""What a repeated answer says of where it was found, beside the levels of the cache. Whoever is told so keeps it no
longer: two moments in a row would be more than the promised second."""
HIT = f"hit; level={LEVEL}"
"""The header that says so."""
MAX_BYTES = 8_000_000
"""What the near cache of one process may take."""
ENTRY_BYTES = 512
"""What an entry takes besides its value: the key, the objects and their place."""

Seconds = Annotated[
    float,
    msgspec.Meta(
        ge=0,
        le=0.7,
        description="How long a process may repeat what it found in the cache without asking again. An invalidation "
        "may be heard of so much later. 0: it always asks.",
    ),
]
"""A setting of whoever has a near cache. Cache processes hear of an invalidation within a quarter of a second, and
within a second nobody shall find what was invalidated."""
DEFAULT_SECONDS = 0.5

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Near(Generic[V]):
    """What was found, and how long ago the cache was asked for it."""

    value: V
    seconds_ago: float


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V | None
    """None: what the cache was asked for before is not to be repeated."""
    asked_at: float
    size: int
    renewal_at: float
    """When the next one is sent to the cache to ask anew."""


class NearCache(Generic[V]):
    """Answers by their keys, each repeated for `seconds` from the moment at which the cache was asked for it.

    Not from its reply on: an invalidation may lie between. All moments are on one monotonic clock, in seconds. All
    lives are equal, so the order of insertion is about that of expiry, and the oldest make room.
    """

    def __init__(self, *, seconds: float, max_bytes: int = MAX_BYTES) -> None:
        """With 0 seconds nothing is kept."""
        self.size_bytes = 0
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._entries: dict[str, _Entry[V]] = {}

    def find(self, key: str, now: float) -> Near[V] | None:
        """None if the cache is to be asked. When half of an entry's life is over, one who asks for it is told so, and
        in each tenth after that another: those behind find what there is until one is back, and do not all go to the
        cache at once when the life ends."""
        entry = self._entries.get(key)
        if entry is None or entry.value is None or self._is_over(entry, now):
            return None
        if now > entry.renewal_at:
            entry.renewal_at = now + self._seconds / 10
            return None
        return Near(entry.value, now - entry.asked_at)

    def keep(self, key: str, value: V, *, asked_at: float, size: int) -> None:
        """`size` is what the value takes, in bytes. What is known from a later moment stays in its place."""
        known = self._entries.get(key)
        if known is None or known.asked_at <= asked_at:
            self._put(key, _Entry(value, asked_at, size + ENTRY_BYTES, asked_at + self._seconds / 2))

    def forget(self, key: str, now: float) -> None:
        """Whatever the cache was asked for before `now` is not repeated, even if its reply is still on its way."""
        self._put(key, _Entry(None, now, ENTRY_BYTES, now))

    def _put(self, key: str, entry: _Entry[V]) -> None:
        self._drop(key)
        if not self._seconds or entry.size > self._max_bytes:
            return
        while self._entries and self._is_in_the_way(oldest := next(iter(self._entries)), entry):
            self._drop(oldest)
        self._entries[key] = entry
        self.size_bytes += entry.size

    def _is_in_the_way(self, key: str, newer: _Entry[V]) -> bool:
        is_over = self._is_over(self._entries[key], newer.asked_at)
        return is_over or self.size_bytes + newer.size > self._max_bytes

    def _drop(self, key: str) -> None:
        if entry := self._entries.pop(key, None):
            self.size_bytes -= entry.size

    def _is_over(self, entry: _Entry[V], now: float) -> bool:
        return now - entry.asked_at >= self._seconds

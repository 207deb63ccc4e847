"""An answer while it is handed in, bounded in size."""

from collections.abc import Iterable

from services.cache.entry import EMPTY_BYTES, Entry, event_bytes


class Draft:
    """Collects events. Past `max_bytes` it drops what it holds and only goes on measuring."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._events: list[bytes] = []
        self._size_bytes = EMPTY_BYTES

    @property
    def size_bytes(self) -> int:
        """The size of the entry with all events so far, kept or not."""
        return self._size_bytes

    @property
    def fits(self) -> bool:
        return self._size_bytes <= self._max_bytes

    def append(self, events: Iterable[bytes]) -> None:
        for event in events:
            self._size_bytes += event_bytes(event)
            if self.fits:
                self._events.append(event)
            else:
                self._events.clear()

    def complete(self, *, now: float, ttl_seconds: float) -> Entry | None:
        """The entry, made at Unix time `now`; None if it is too large to be kept."""
        return Entry(tuple(self._events), now, ttl_seconds) if self.fits else None

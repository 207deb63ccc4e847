"""An answer while it is handed in, bounded in size."""

from collections import deque
from collections.abc import Iterable

from services.cache.events import Events, event_bytes


class Draft:
    """Collects events, of which the last `keeps_last` are kept; None keeps all.

    As soon as what would be kept is larger than `max_bytes`, the answer is too large for good: the draft drops what it
    holds and only goes on measuring.
    """

    def __init__(self, *, max_bytes: int, keeps_last: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._keeps_last = keeps_last
        self._events: deque[bytes] = deque()
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """The size of what would be kept; of a draft that is too large, more than `max_bytes`."""
        return self._size_bytes

    @property
    def fits(self) -> bool:
        return self._size_bytes <= self._max_bytes

    @property
    def events(self) -> Events:
        """What is kept, if it fits."""
        return Events.of(self._events)

    def append(self, events: Iterable[bytes]) -> None:
        for event in events:
            self._size_bytes += event_bytes(event)
            self._events.append(event)
            if self._keeps_last is not None and len(self._events) > self._keeps_last:
                self._size_bytes -= event_bytes(self._events.popleft())
            if not self.fits:
                self._events.clear()

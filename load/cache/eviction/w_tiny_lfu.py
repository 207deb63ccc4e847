"""Eviction by admission, W-TinyLFU: a new key stays only if it is seen more often than the one that it drives out.

Einziger, Friedman, Manes: TinyLFU: A Highly Efficient Cache Admission Policy. ACM Transactions on Storage 2017. Shares
as in the paper and in Caffeine; without the paper's doorkeeper, as in Caffeine.
"""

from collections import OrderedDict
from typing import ClassVar

from load.cache.eviction.frequency_sketch import FrequencySketch

WINDOW_SHARE = 100
"""The window has one of so many keys."""
PROTECTED_SHARE = 0.8
"""The part of the main area that is for keys used there again."""


class WTinyLfu:
    """An Eviction of one key at a time, in constant time, for a level of about `max_entries` keys.

    New keys enter a small window, the least recently used of which meets the least recently used of the main area when
    room is needed: the one that was seen less often goes.
    """

    KEY_BYTES: ClassVar[int] = 128

    def __init__(self, *, max_entries: int) -> None:
        self._seen = FrequencySketch(keys=max_entries)
        self._window: OrderedDict[str, None] = OrderedDict()
        self._probation: OrderedDict[str, None] = OrderedDict()
        self._protected: OrderedDict[str, None] = OrderedDict()

    def stored(self, key: str, now: float) -> None:
        self._seen.record(key)
        if not any(key in area for area in (self._window, self._probation, self._protected)):
            self._window[key] = None
            self._shrink_window()

    def used(self, key: str, now: float) -> None:
        self._seen.record(key)
        if key in self._window:
            self._window.move_to_end(key)
        elif key in self._protected:
            self._protected.move_to_end(key)
        else:
            self._protect(key)

    def removed(self, key: str) -> None:
        for area in (self._window, self._probation, self._protected):
            area.pop(key, None)

    def victims(self, now: float) -> list[str]:
        """One key: the loser of the two candidates."""
        main = self._probation or self._protected
        if not main:
            return [self._window.popitem(last=False)[0]] if self._window else []
        if len(self._window) < self._window_size():
            return [main.popitem(last=False)[0]]
        candidate, _ = self._window.popitem(last=False)
        victim = next(iter(main))
        if self._seen.count(candidate) <= self._seen.count(victim):
            return [candidate]
        del main[victim]
        self._probation[candidate] = None
        return [victim]

    def _window_size(self) -> int:
        held = len(self._window) + len(self._probation) + len(self._protected)
        return max(1, held // WINDOW_SHARE)

    def _shrink_window(self) -> None:
        while len(self._window) > self._window_size():
            self._probation[self._window.popitem(last=False)[0]] = None

    def _protect(self, key: str) -> None:
        del self._probation[key]
        self._protected[key] = None
        most = PROTECTED_SHARE * (len(self._probation) + len(self._protected))
        while len(self._protected) > most:
            self._probation[self._protected.popitem(last=False)[0]] = None

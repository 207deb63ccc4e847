"""Eviction by three queues, S3-FIFO: what is not used again soon after it was stored goes soon.

Yang, Zhang, Qiu, Yue, Rashmi: FIFO Queues Are All You Need for Cache Eviction. SOSP 2023.
"""

from collections import OrderedDict, deque
from typing import ClassVar

SMALL_SHARE = 10
"""The small queue has one of so many keys."""
MOST_USES = 3
"""Uses are counted up to this."""
USES_TO_STAY = 2
"""What was used so often in the small queue goes on to the main queue."""


class S3Fifo:
    """An Eviction of one key at a time, in constant time on average.

    New keys enter a small queue. At its end those that were used more than once move to the main queue; the others go
    and are remembered as ghosts. A ghost that is stored again enters the main queue, at whose end a key that was used
    starts anew with one use less. There are as many ghosts as the main queue has keys when the small one has its share.
    """

    KEY_BYTES: ClassVar[int] = 320

    def __init__(self) -> None:
        self._uses: dict[str, int] = {}
        self._small: OrderedDict[str, None] = OrderedDict()
        self._main: OrderedDict[str, None] = OrderedDict()
        self._ghosts: set[int] = set()
        """Hashes of keys: a ghost shall not take the memory of a key."""
        self._ghosts_by_age: deque[int] = deque()

    def stored(self, key: str, now: float) -> None:
        if key in self._uses:
            return
        self._uses[key] = 0
        ghost = hash(key)
        if ghost in self._ghosts:
            self._ghosts.remove(ghost)
            self._main[key] = None
        else:
            self._small[key] = None

    def used(self, key: str, now: float) -> None:
        uses = self._uses[key]
        if uses < MOST_USES:
            self._uses[key] = uses + 1

    def removed(self, key: str) -> None:
        del self._uses[key]
        del (self._small if key in self._small else self._main)[key]

    def victims(self, now: float) -> list[str]:
        """One key. Every step takes one off the small queue or a use off the main queue, so it ends."""
        while self._uses:
            small_is_full = len(self._small) * SMALL_SHARE >= len(self._uses)
            victim = self._end_of_small() if small_is_full or not self._main else self._end_of_main()
            if victim is not None:
                del self._uses[victim]
                return [victim]
        return []

    def _end_of_small(self) -> str | None:
        """The oldest key of the small queue if it goes; None if it moves on."""
        key, _ = self._small.popitem(last=False)
        if self._uses[key] >= USES_TO_STAY:
            self._uses[key] = 0
            self._main[key] = None
            return None
        self._remember(hash(key))
        return key

    def _end_of_main(self) -> str | None:
        """The oldest key of the main queue if it goes; None if it starts anew."""
        key, _ = self._main.popitem(last=False)
        uses = self._uses[key]
        if uses == 0:
            return key
        self._uses[key] = uses - 1
        self._main[key] = None
        return None

    def _remember(self, ghost: int) -> None:
        """One that returned keeps its place in the queue, so it may be forgotten early when it goes again."""
        self._ghosts.add(ghost)
        self._ghosts_by_age.append(ghost)
        while len(self._ghosts_by_age) > len(self._uses) - len(self._uses) // SMALL_SHARE:
            self._ghosts.discard(self._ghosts_by_age.popleft())

"""Slots: how many turns a replica works on at once, and the short queue for one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from meshkit.errors import Reason, ShoalError

FIRST_GUESS_SECONDS = 1.0
"""For how long a turn holds its slot, before turns have shown it."""
WEIGHT = 0.1
"""Of the latest turn in the mean: the last twenty or so count."""
SHORTEST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 30.0


class Slots:
    """The slots of one replica. Who finds none waits in line; who finds no place in line is refused at once."""

    def __init__(self, slots: int, *, queue: int, longest_wait_seconds: float, clock: Callable[[], float]) -> None:
        """`queue` is how many may wait, each for `longest_wait_seconds`. `clock` is steady, in seconds."""
        self.slots = slots
        self.running = 0
        self.waiting = 0
        self._queue = queue
        self._longest_wait_seconds = longest_wait_seconds
        self._clock = clock
        self._free = asyncio.Semaphore(slots)
        self._held_seconds = FIRST_GUESS_SECONDS

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """A slot, given back in the end. First come, first served.

        Raises ShoalError REPLICA_BUSY if too many wait already, or the wait was too long.
        """
        await self._acquire()
        self.running += 1
        began = self._clock()
        try:
            yield
        finally:
            self.running -= 1
            self._held_seconds += WEIGHT * (self._clock() - began - self._held_seconds)
            self._free.release()

    async def _acquire(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        if self.waiting >= self._queue:
            raise self._busy()
        self.waiting += 1
        try:
            async with asyncio.timeout(self._longest_wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise self._busy() from None
        finally:
            self.waiting -= 1

    def _busy(self) -> ShoalError:
        """With the time in which slots enough should come free for those who wait and one more."""
        seconds = self._held_seconds * (self.waiting + 1) / self.slots
        return ShoalError(
            Reason.REPLICA_BUSY,
            "All replicas have as many turns as they can take; try again a little later.",
            retry_after_seconds=min(max(seconds, SHORTEST_RETRY_SECONDS), LONGEST_RETRY_SECONDS),
        )

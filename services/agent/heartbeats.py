"""Heartbeats in a stream where nothing happens for a while, and groups of what happens at once."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Generic, TypeVar

T = TypeVar("T")


async def with_heartbeats(
    events: AsyncGenerator[T, None], *, interval_seconds: float, most: int
) -> AsyncGenerator[Sequence[T], None]:
    """The events in groups of those that are there at the same time, at most `most`, and an empty group after each
    interval without one. Closing it stops and closes the events.

    The events are ahead of their reader by one group at most. One task runs them from first to last: what an agent
    enters there, such as a timeout or a task group, must be left by the same task.
    """
    handed = _Handed[T](most)
    running = asyncio.create_task(_hand_over(events, handed))
    try:
        while not handed.is_over:
            group = await handed.take(interval_seconds)
            if group or not handed.is_over:
                yield group
        await running
    finally:
        handed.drop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class _Handed(Generic[T]):
    """Events on their way from one task to another."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._events: list[T] = []
        self._has_ended = False
        self._is_dropped = False
        self._ready = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to take, and will be nothing."""
        return self._has_ended and not self._events

    async def put(self, event: T) -> None:
        """Waits for room. Cancelled if nobody takes anything any more: what the events wait for may have swallowed the
        cancel that told them."""
        while len(self._events) >= self._most and not self._is_dropped:
            self._room.clear()
            await self._room.wait()
        if self._is_dropped:
            raise asyncio.CancelledError
        self._events.append(event)
        self._ready.set()

    def end(self) -> None:
        self._has_ended = True
        self._ready.set()

    def drop(self) -> None:
        self._is_dropped = True

    async def take(self, seconds: float) -> Sequence[T]:
        """All that is there; nothing after so many seconds without anything, and at the end."""
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            return ()
        taken, self._events = self._events, []
        if not self._has_ended:
            self._ready.clear()
        self._room.set()
        return taken


async def _hand_over(events: AsyncGenerator[T, None], handed: _Handed[T]) -> None:
    """Puts every event, and says so when they end, also with an error."""
    try:
        async with aclosing(events):
            async for event in events:
                await handed.put(event)
    finally:
        handed.end()

"""Heartbeats in a stream where nothing happens for a while."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def with_heartbeats(
    events: AsyncGenerator[T, None], *, interval_seconds: float
) -> AsyncGenerator[T | None, None]:
    """The events, and None after each interval without one. Closing it stops and closes the events.

    One task runs the events from first to last: what an agent enters there, such as a timeout or a task group, must be
    left by the same task.
    """
    handed: asyncio.Queue[T | None] = asyncio.Queue(maxsize=1)
    running = asyncio.create_task(_hand_over(events, handed))
    try:
        while True:
            try:
                async with asyncio.timeout(interval_seconds):
                    event = await handed.get()
            except TimeoutError:
                if running.done() and handed.empty():
                    break  # Cancelled from within: nobody is left to put the last None.
                yield None
                continue
            if event is None:
                break
            yield event
        await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _hand_over(events: AsyncGenerator[T, None], queue: asyncio.Queue[T | None]) -> None:
    """Puts every event and then None, also when the events end with an error."""
    try:
        async with aclosing(events):
            async for event in events:
                await queue.put(event)
    except Exception:
        await queue.put(None)
        raise
    await queue.put(None)

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
        await _stop(running, handed)


async def _stop(running: asyncio.Task[None], handed: asyncio.Queue[T | None]) -> None:
    """Cancels the events and waits for their end.

    What they wait for may swallow a cancel that comes just as it is done. They then go on, and would wait for ever for
    a reader: whatever they still hand over is dropped, and they are cancelled again.
    """
    running.cancel()
    dropping = asyncio.create_task(_drop(running, handed))
    try:
        await asyncio.gather(running, return_exceptions=True)
    finally:
        dropping.cancel()


async def _drop(running: asyncio.Task[None], handed: asyncio.Queue[T | None]) -> None:
    while True:
        await handed.get()
        running.cancel()


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

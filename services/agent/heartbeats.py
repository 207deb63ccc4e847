"""Heartbeats in a stream where nothing happens for a while."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

T = TypeVar("T")


async def with_heartbeats(events: AsyncIterator[T], *, interval_seconds: float) -> AsyncGenerator[T | None, None]:
    """The events, and None after each interval without one. Closing it closes what it waits for."""
    pending: asyncio.Future[T] | None = None
    try:
        while True:
            pending = asyncio.ensure_future(anext(events))
            while not (await asyncio.wait({pending}, timeout=interval_seconds))[0]:
                yield None
            try:
                event = pending.result()
            except StopAsyncIteration:
                return
            yield event
    finally:
        if pending is not None and not pending.done():
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)

"""Waiting for another server for a short time, of which the own event loop's lateness is no part."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Answer = TypeVar("Answer")

ENVOY_WAITS_SECONDS = 0.2
"""How long Envoy waits for the limiter."""
AT_MOST_SECONDS = 0.15
"""How long the limiter waits for anybody, so that Envoy still gets its answer."""
LATE_SECONDS = 0.001
"""A timer this late says that the loop was busy with other things."""


async def in_time(call: Awaitable[Answer], *, seconds: float, at_most: float = AT_MOST_SECONDS) -> Answer:
    """What the call returns. Raises TimeoutError, and cancels it, when it takes longer than `seconds`.

    An answer that has arrived is not read while the loop is busy. So when the timer itself comes late, the call is
    given that time back, again and again, up to `at_most` seconds in all.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + at_most
    due = min(loop.time() + seconds, end)
    timer: asyncio.TimerHandle

    def look(due: float) -> None:
        nonlocal timer
        now = loop.time()
        if now - due < LATE_SECONDS or now >= end:
            patience.reschedule(now)
        else:
            again = min(now + (now - due), end)
            timer = loop.call_at(again, look, again)

    timer = loop.call_at(due, look, due)
    try:
        async with asyncio.timeout(None) as patience:
            return await call
    finally:
        timer.cancel()

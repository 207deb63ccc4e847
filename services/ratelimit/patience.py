"""Waiting for another server for a short time, of which the own event loop's lateness is no part."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Answer = TypeVar("Answer")

LATE_SECONDS = 0.001
"""A timer this late says that the loop was busy with other things."""


async def in_time(call: Coroutine[Any, Any, Answer], *, seconds: float, at_most: float) -> Answer:
    """What the call returns. Raises TimeoutError, and cancels it, when it takes longer than `seconds`.

    An answer that has arrived is not read while the loop is busy. So when the timer itself comes late, the call is
    given that time back, again and again, up to `at_most` seconds in all.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(call)
    end = loop.time() + at_most
    due = min(loop.time() + seconds, end)
    try:
        while True:
            await asyncio.wait([task], timeout=due - loop.time())
            if task.done():
                return task.result()
            late = loop.time() - due
            if late < LATE_SECONDS or loop.time() >= end:
                raise TimeoutError
            due = min(loop.time() + late, end)
    finally:
        task.cancel()

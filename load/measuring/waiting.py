"""Waiting for what other processes do."""

import asyncio
import time
from collections.abc import Awaitable, Callable

_LOOK_SECONDS = 0.05


async def until(what: str, holds: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
    """Looks again and again. Raises TimeoutError, saying what, if it does not hold within so many seconds."""
    end = time.monotonic() + seconds
    while not await holds():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s in vain for {what}")
        await asyncio.sleep(_LOOK_SECONDS)

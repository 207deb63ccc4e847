"""Waiting for what has to be asked for."""

import asyncio
from collections.abc import Awaitable, Callable

PATIENCE_SECONDS = 30
PAUSE_SECONDS = 0.02


async def until(is_so: Callable[[], Awaitable[bool]], what: str) -> None:
    """Asks until it is so. Fails with the name of what did not happen."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if await is_so():
                    return
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        raise AssertionError(f"{what} did not happen within {PATIENCE_SECONDS} s") from None

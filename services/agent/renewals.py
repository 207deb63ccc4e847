"""Renewals: stale answers that are computed anew beside the turns that were given them."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from meshkit import call
from meshkit.errors import ShoalError

log = structlog.get_logger()


class Renewals:
    """Work that goes on after the call that gave rise to it, in its name and with a deadline of its own."""

    def __init__(self, *, most: int, seconds: float) -> None:
        """At most `most` at once, each for at most `seconds`."""
        self._most = most
        self._seconds = seconds
        self._running: set[asyncio.Task[None]] = set()

    def begin(self, renew: Callable[[], Awaitable[object]]) -> None:
        """Begins one, unless there are too many. Nobody hears of its end but the log."""
        if len(self._running) >= self._most:
            log.warning("renewal skipped", running=len(self._running))
            return
        task = asyncio.create_task(self._run(renew))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Cancels those that run, and waits until they have cleaned up."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, renew: Callable[[], Awaitable[object]]) -> None:
        try:
            with call.beside(seconds=self._seconds):
                async with asyncio.timeout(self._seconds):
                    await renew()
        except ShoalError as error:
            log.warning("renewal failed", reason=error.reason)
        except TimeoutError:
            log.warning("renewal failed", reason=f"not done within {self._seconds:g} s")
        except Exception:
            log.warning("renewal failed", exc_info=True)

"""Work for a client that may leave before it is done."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

R = TypeVar("R")


async def while_connected(request: Request, work: Coroutine[Any, Any, R]) -> R:
    """The result of `work`, which is cancelled when the client leaves. Then raises ClientDisconnect.

    The request's body must have been read.
    """
    client = _Watch(request)
    try:
        return await work
    except asyncio.CancelledError:
        if client.has_left:
            raise ClientDisconnect from None
        raise
    finally:
        client.end()


class _Watch:
    """Cancels the current task when the client leaves, until it is told to end."""

    def __init__(self, request: Request) -> None:
        self.has_left = False
        self._working = asyncio.current_task()
        self._leaving = asyncio.ensure_future(_left(request))
        self._leaving.add_done_callback(self._stop)

    def end(self) -> None:
        self._leaving.remove_done_callback(self._stop)
        self._leaving.cancel()
        if self.has_left and self._working:
            self._working.uncancel()

    def _stop(self, leaving: asyncio.Future[None]) -> None:
        if self._working and not leaving.cancelled():
            self.has_left = True
            self._working.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

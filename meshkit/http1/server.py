"""A server of gRPC over HTTP/1.1: it listens, watches its connections, and ends without a reset."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import NoReturn

from meshkit import background
from meshkit.http1.server_connection import ServerConnection, Terms

BACKLOG = 2048
HANDSHAKE_SECONDS = 10.0
LOOKS_SECONDS = 5.0
"""How often connections are looked at that take too long."""
LAST_WORDS_SECONDS = 0.3
"""For telling callers that their calls are broken off. Those that read are told at once."""


class Http1Server:
    """The connections that are open, and the listener that they come from."""

    def __init__(self) -> None:
        self._listener: asyncio.Server | None = None
        self._open: set[ServerConnection] = set()
        self._none_left = asyncio.Event()
        self._none_left.set()
        self._ends = False

    async def listen(self, terms: Terms, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        """The socket is closed when the server is stopped."""
        self._listener = await asyncio.get_running_loop().create_server(
            partial(ServerConnection, terms, joins=self.join, leaves=self.leave),
            sock=listener,
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
        )

    def join(self, connection: ServerConnection) -> None:
        self._open.add(connection)
        self._none_left.clear()
        if self._ends:  # It was on its way when the listener closed.
            connection.end()

    def leave(self, connection: ServerConnection) -> None:
        self._open.discard(connection)
        if not self._open:
            self._none_left.set()

    async def watch(self, *, every_seconds: float = LOOKS_SECONDS) -> NoReturn:
        """Cuts off whoever has had time enough."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(every_seconds)
            now = loop.time()
            for connection in [each for each in self._open if each.is_overdue(now)]:
                connection.cut_off()

    async def drain(self, *, notice_seconds: float, grace_seconds: float) -> None:
        """Goes on for `notice_seconds`, while the health check says that it ends; then gives calls `grace_seconds`."""
        await asyncio.sleep(notice_seconds)
        await self.stop(grace_seconds)

    async def stop(self, grace_seconds: float) -> None:
        """Nobody can connect any more. Idle connections close at once, others with their answer; calls that take longer
        than that end in UNAVAILABLE."""
        self._ends = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._open):
            connection.end()
        if await self._all_leave(grace_seconds):
            return
        for connection in list(self._open):
            connection.break_off()
        if not await self._all_leave(LAST_WORDS_SECONDS):
            for connection in list(self._open):
                connection.cut_off()
            await self._none_left.wait()

    async def _all_leave(self, seconds: float) -> bool:
        """Whether all have, in that time."""
        try:
            async with asyncio.timeout(seconds):
                await self._none_left.wait()
        except TimeoutError:
            return False
        return True


@asynccontextmanager
async def listening(terms: Terms, *, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Http1Server]:
    """Answers on 127.0.0.1 until the end, where whatever is still under way is cut off: stop the server before that.

    Raises OSError if the port is busy.
    """
    server = Http1Server()
    await server.listen(terms, _listener(port), tls)
    try:
        async with background.running(server.watch()):
            yield server
    finally:
        await server.stop(0)


def _listener(port: int) -> socket.socket:
    try:
        listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    except OSError as error:
        raise OSError(f"port {port} on 127.0.0.1 is busy") from error
    # Connections inherit it; asyncio sets it only where the protocol was named. Without it, a small write may wait for
    # the acknowledgement of the one before.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener

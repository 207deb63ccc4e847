"""A server for calls of one message over HTTP/1.1: it listens, watches its connections, and ends without a reset."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import NoReturn

from meshkit import background
from services.ratelimit.questions.connection import CALL_SECONDS, Connection, Terms

BACKLOG = 2048
LOOKS_SECONDS = 5.0
"""How often connections are looked at that take too long."""
LAST_ANSWERS_SECONDS = 1.0
"""How long answers that are under way may take at the end; Envoy waits for none of them longer."""


class _Connections:
    """Those that are open."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._none_left = asyncio.Event()
        self._none_left.set()

    def join(self, connection: Connection) -> None:
        self._open.add(connection)
        self._none_left.clear()

    def leave(self, connection: Connection) -> None:
        self._open.discard(connection)
        if not self._open:
            self._none_left.set()

    async def watch(self) -> NoReturn:
        """Cuts off whoever sends or reads too slowly, or has been silent for too long."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOKS_SECONDS)
            now = loop.time()
            for connection in [each for each in self._open if each.is_overdue(now)]:
                connection.cut_off()

    async def end(self) -> None:
        """Idle ones close at once, others with their answer; those that take too long are cut off."""
        for connection in list(self._open):
            connection.end()
        try:
            async with asyncio.timeout(LAST_ANSWERS_SECONDS):
                await self._none_left.wait()
        except TimeoutError:
            for connection in list(self._open):
                connection.cut_off()
            await self._none_left.wait()


@asynccontextmanager
async def listening(terms: Terms, *, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    """Answers on 127.0.0.1 until the end, where every question under way still gets its answer.

    Whoever asks should have been told before, by the health check. Raises OSError if the port is busy.
    """
    connections = _Connections()
    make = partial(Connection, terms, joins=connections.join, leaves=connections.leave)
    server = await asyncio.get_running_loop().create_server(
        make, sock=_listener(port), backlog=BACKLOG, ssl=tls, ssl_handshake_timeout=CALL_SECONDS if tls else None
    )
    try:
        async with background.running(connections.watch()):
            yield
    finally:
        server.close()
        await connections.end()
        await server.wait_closed()


def _listener(port: int) -> socket.socket:
    try:
        listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    except OSError as error:
        raise OSError(f"port {port} on 127.0.0.1 is busy") from error
    # Connections inherit it; asyncio sets it only where the protocol was named. Without it, a small write may wait for
    # the acknowledgement of the one before.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener

"""The connections of a channel: each call has one to itself, and those that are free are used again."""

import asyncio
import math
import ssl
from collections import deque

from meshkit.http1.client_connection import ClientConnection

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 9.0
"""How long one is kept for the next call: less than Envoy keeps it when it is short of memory (10 s), so that no call
meets a closing one."""


class Pool:
    """Connections to one address. Closed by whoever made it; calls under way end then."""

    def __init__(
        self, address: str, *, tls: ssl.SSLContext | None = None, name: str = "", idle_seconds: float = IDLE_SECONDS
    ) -> None:
        """With `tls`, the server must be certified as `name`. Connections are kept for the next call for so long."""
        self._address = address
        self._tls = tls
        self._name = name if tls else None
        self._idle_seconds = idle_seconds
        self._open: set[ClientConnection] = set()
        self._free: deque[ClientConnection] = deque()
        """The one that was used last is the last one, and the next to be used: the others grow old."""
        self._looks: asyncio.TimerHandle | None = None
        """When those that are free are looked at again."""
        self._is_closed = False

    async def take(self, seconds: float = math.inf) -> ClientConnection:
        """One that is free. Raises OSError if there is no connecting in that time."""
        while self._free:
            connection = self._free.pop()
            if connection.is_open:
                return connection
        return await self._connect(min(seconds, CONNECT_SECONDS))

    def close(self) -> None:
        self._is_closed = True
        if self._looks is not None:
            self._looks.cancel()
        for connection in list(self._open):
            connection.close()

    # What connections tell.

    def freed(self, connection: ClientConnection) -> None:
        self._free.append(connection)
        if self._looks is None:
            self._look_in(self._idle_seconds)

    def lost(self, connection: ClientConnection) -> None:
        self._open.discard(connection)

    def _look_in(self, seconds: float) -> None:
        self._looks = asyncio.get_running_loop().call_later(seconds, self._drop_old)

    def _drop_old(self) -> None:
        before = asyncio.get_running_loop().time() - self._idle_seconds
        while self._free and self._free[0].free_since <= before:
            self._free.popleft().close()
        self._looks = None
        if self._free:
            self._look_in(self._free[0].free_since - before)

    async def _connect(self, seconds: float) -> ClientConnection:
        host, _, port = self._address.rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                _, connection = await loop.create_connection(
                    lambda: ClientConnection(self), host, int(port), ssl=self._tls, server_hostname=self._name
                )
        except OSError as error:  # One of TLS and a timeout are such, too.
            raise OSError(f"{self._address} cannot be reached: {str(error) or 'it does not answer'}") from None
        if self._is_closed:
            connection.close()
        if connection.is_open:
            # Not before: of one whose caller has stopped waiting meanwhile, not every loop tells that it is lost.
            self._open.add(connection)
        return connection

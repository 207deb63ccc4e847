"""One connection to Envoy, on which calls are made one after the other."""

import asyncio
import socket
from typing import Protocol, cast

import grpc
import httptools

from meshkit.http1.exchange import Exchange
from meshkit.http1.flow import FlowControl
from meshkit.http1.framing import Header

KERNEL_BYTES = 256 << 10
"""How much of an answer the kernel may take for us, so that a server is not far ahead of a reader that stops. By itself
it gives a connection that was fast up to tens of megabytes."""

_LOST = "the connection was lost"


class Owner(Protocol):
    """Whoever gives connections to calls."""

    def freed(self, connection: "ClientConnection") -> None:
        """It can take another call."""
        ...

    def lost(self, connection: "ClientConnection") -> None: ...


class ClientConnection(FlowControl):
    """Takes one call at a time; its owner knows when it is free."""

    def __init__(self, owner: Owner) -> None:
        super().__init__()
        self.free_since = 0.0
        """When its last call ended, by the loop's time."""
        self._owner = owner
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._headers: list[Header] = []
        self._trailers: list[Header] = []
        self._has_head = False
        self._is_sent = True
        """Whether all of the request is on its way."""

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def begin(self, exchange: Exchange, head: bytes, *, is_whole: bool) -> None:
        """Makes a call; if the connection is lost by now, it fails. What `head` holds is all of the request if it
        `is_whole`; else it is chunked, and the chunks and an `end` follow."""
        if not self.is_open:
            exchange.fail(grpc.StatusCode.UNAVAILABLE, _LOST)
            return
        self._exchange = exchange
        self._headers, self._trailers = [], []
        self._has_head = False
        self._is_sent = is_whole
        exchange.made_on(self)
        self._transport.write(head)

    async def send(self, chunk: bytes) -> None:
        """Returns when only little waits to be sent; if the connection has ended, when that is told to the call."""
        if self.is_open:
            self._transport.write(chunk)
        await self.drained()

    def end(self, chunk: bytes) -> None:
        """The last of the request."""
        if self.is_open:
            self._transport.write(chunk)
        self._is_sent = True

    def cut(self) -> None:
        self._exchange = None
        self._transport.abort()

    def close(self) -> None:
        """A call that is under way fails, even if its request is not sent yet."""
        if self._exchange is not None:
            self._exchange.fail(grpc.StatusCode.UNAVAILABLE, "the channel was closed")
        self._transport.close()

    # What asyncio and httptools tell; the names are theirs.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if (raw := self._transport.get_extra_info("socket")) is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES)

    def connection_lost(self, error: Exception | None) -> None:
        self._owner.lost(self)
        self.resume_writing()
        if self._exchange is not None:
            self._exchange.fail(grpc.StatusCode.UNAVAILABLE, _LOST)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._exchange is not None:
                self._exchange.fail(grpc.StatusCode.INTERNAL, f"the answer is not HTTP/1.1: {error}")
            self._transport.abort()

    def on_message_begin(self) -> None:
        if self._exchange is None:
            # A refusal of Envoy's before it closes the connection, or a second answer: no call's, and not the next's.
            raise ValueError("nobody asked")

    def on_header(self, name: bytes, value: bytes) -> None:
        (self._trailers if self._has_head else self._headers).append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._has_head = True
        if self._exchange is not None:
            self._exchange.receive_head(self._headers)

    def on_body(self, body: bytes) -> None:
        if self._exchange is not None:
            self._exchange.receive(body)

    def on_message_complete(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.receive_end(self._trailers, self._parser.get_status_code())
        if not self._parser.should_keep_alive() or not self._is_sent:
            # Who answers before the end of the question does not want the rest.
            self._transport.close()
        elif self.is_open:
            self.free_since = self._loop.time()
            self._owner.freed(self)

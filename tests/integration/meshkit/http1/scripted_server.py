"""A server over real sockets that says what a test tells it to, and a channel to it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from meshkit.http1.channel import Http1Channel

MOST_BYTES = 1 << 20
REFUSED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n"
    b"grpc-status: 8\r\ngrpc-message: Enough.\r\n\r\n"
)


@dataclass
class Seen:
    """What the server has of its callers."""

    connections: int = 0
    head: bytes = b""
    began: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether a caller has closed or cut its connection."""


@asynccontextmanager
async def answering(says: bytes, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Http1Channel, Seen]]:
    """Every connection is told `says` once the head of a request is there, and is then read to its end."""
    seen = Seen()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        try:
            seen.head = await reader.readuntil(b"\r\n\r\n")
            seen.began.set()
            writer.write(says)
            while await reader.read(1 << 16):
                """To its end."""
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            seen.ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, Http1Channel(address, most_bytes=MOST_BYTES, tls=tls, name="mesh") as channel:
        yield channel, seen


def unary(channel: Http1Channel) -> Any:
    """A method whose messages are bytes."""
    return channel.unary_unary("/test.Service/Echo", bytes, bytes)


def collected(channel: Http1Channel) -> Any:
    return channel.stream_unary("/test.Service/Gather", bytes, bytes)


def streamed(channel: Http1Channel) -> Any:
    return channel.unary_stream("/test.Service/Repeat", bytes, bytes)

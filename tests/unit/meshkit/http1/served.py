"""One connection to a server that has a method of each kind, without a socket."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from meshkit.http1.framing import Metadata
from meshkit.http1.server_connection import ServerConnection, Terms
from tests.unit.meshkit.http1.wire import PATH, FakeTransport, settled

MOST = 1000
Context = Any
"""What handlers are given; grpc's type has more than that."""


@dataclass
class Served:
    """The connection, its wire, and methods that go on when they are allowed to. `asked` is what they were asked."""

    transport: FakeTransport = field(default_factory=FakeTransport)
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[bytes] = field(default_factory=list)
    metadata: list[Metadata] = field(default_factory=list)
    cancelled: list[bytes] = field(default_factory=list)
    open: set[ServerConnection] = field(default_factory=set)
    serving: bool = True
    most_bytes: int = MOST
    connection: ServerConnection = field(init=False)

    def __post_init__(self) -> None:
        self.may_go_on.set()
        terms = Terms([self], is_serving=lambda: self.serving)
        self.connection = ServerConnection(terms, joins=self.open.add, leaves=self.open.discard)
        self.connection.connection_made(self.transport)

    def find(self, method: str) -> Any:
        return {
            "Echo": grpc.unary_unary_rpc_method_handler(self.echo, None, bytes),
            "Repeat": grpc.unary_stream_rpc_method_handler(self.repeat, None, bytes),
            "Flood": grpc.unary_stream_rpc_method_handler(self.flood, None, bytes),
            "Gather": grpc.stream_unary_rpc_method_handler(self.gather, None, bytes),
        }.get(method.removeprefix(PATH.decode()))

    async def echo(self, message: bytes, context: Context) -> bytes:
        await self._waits(message, context)
        match message:
            case b"abort":
                await context.abort(grpc.StatusCode.NOT_FOUND, "Not here.", (("x-why", "gone"),))
            case b"break":
                raise ZeroDivisionError
            case b"inject":
                await context.abort(grpc.StatusCode.NOT_FOUND, "x", (("x-why", "gone\r\nset-cookie: a=b"),))
        return message.upper()

    async def repeat(self, message: bytes, context: Context) -> None:
        """Twice, and then as often as it is let."""
        await context.send_initial_metadata((("x-replica", "one"),))
        for _ in range(2):
            await context.write(message)
        await self._waits(message, context)
        await context.write(b"last")
        context.set_trailing_metadata((("x-end", "yes"),))

    async def flood(self, message: bytes, context: Context) -> None:
        """Far more than anybody reads."""
        await self._waits(message, context)
        for _ in range(1000):
            await context.write(message)
        self.asked.append(b"flooded")

    async def gather(self, messages: AsyncIterator[bytes], context: Context) -> bytes:
        await self._waits(b"begin", context)
        async for message in messages:
            if message == b"abort":
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Enough.")
            self.asked.append(message)
        return b"%d" % (len(self.asked) - 1)

    async def _waits(self, message: bytes, context: Context) -> None:
        self.asked.append(message)
        self.metadata.append(context.invocation_metadata())
        try:
            await self.may_go_on.wait()
        except asyncio.CancelledError:
            self.cancelled.append(message)
            raise

    async def send(self, *packets: bytes) -> None:
        """Bytes arrive, and whatever can be done about them is done."""
        for packet in packets:
            self.connection.data_received(packet)
        await settled()

    async def leave(self) -> None:
        """The other end is gone."""
        self.transport.closed = True
        self.connection.connection_lost(None)
        await settled()

    def answers(self) -> list[bytes]:
        """What was written, in its order: messages, `status N` for an end that is not OK, first lines of others."""
        return [part for answer in self.transport.written.split(b"HTTP/1.1 ")[1:] for part in _told(answer)]


def _told(answer: bytes) -> list[bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"application/grpc" not in head:
        return [head.partition(b"\r\n")[0]]
    messages = []
    while body and not body.startswith(b"0\r\n"):
        length, _, rest = body.partition(b"\r\n")
        messages.append(rest[5 : int(length, 16)])
        body = rest[int(length, 16) + 2 :]
    status = answer.partition(b"grpc-status: ")[2].partition(b"\r\n")[0]
    return messages if status in (b"0", b"") else [*messages, b"status " + status]

"""Asks a limiter as our own Envoy does: gRPC's framing over HTTP/1.1."""

import asyncio
import ssl
from dataclasses import dataclass, field

import httptools

from meshkit.http1 import framing
from meshkit.mesh_tls import NAME
from shoal.external.rls_pb2 import RateLimitRequest, RateLimitResponse

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
MOST_BYTES = 1 << 20


@dataclass
class Response:
    """What came back. Trailers are among the headers."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name] = value

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True

    def answer(self) -> RateLimitResponse:
        assert (self.status, self.headers[b"grpc-status"]) == (200, b"0")
        return RateLimitResponse.FromString(self.message())

    def message(self) -> bytes:
        """The one that there is."""
        messages = framing.Messages(MOST_BYTES)
        messages.feed(self.body)
        messages.end()
        assert len(messages) == 1
        return messages.take()


class Asker:
    """One connection to a port on 127.0.0.1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connected(cls, port: int, tls: ssl.SSLContext | None = None) -> "Asker":
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=NAME if tls else None))

    async def ask(self, request: RateLimitRequest) -> Response:
        return await self.exchange(question(request.SerializeToString()))

    async def exchange(self, data: bytes) -> Response:
        """Sends bytes, and reads one response. Raises EOFError if the other end leaves before that."""
        self.writer.write(data)
        response = Response()
        parser = httptools.HttpResponseParser(response)
        while not response.complete:
            received = await self.reader.read(65536)
            if not received:
                raise EOFError
            parser.feed_data(received)
        response.status = parser.get_status_code()
        return response

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def question(message: bytes) -> bytes:
    """A request as Envoy writes it."""
    head = b"POST %b HTTP/1.1\r\nhost: limiter\r\nte: trailers\r\ncontent-type: application/grpc\r\n" % METHOD.encode()
    body = framing.chunk(framing.framed(message)) + framing.LAST_CHUNK
    return head + b"transfer-encoding: chunked\r\n\r\n" + body

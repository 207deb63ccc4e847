"""Asks a limiter as our own Envoy does: gRPC's framing over HTTP/1.1."""

import asyncio
import ssl
from dataclasses import dataclass, field

import httptools

from meshkit.mesh_tls import NAME
from services.ratelimit import envoy_method
from services.ratelimit.questions.framing import message_in
from shoal.external.rls_pb2 import RateLimitRequest, RateLimitResponse

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
        return RateLimitResponse.FromString(message_in(self.body, most_bytes=MOST_BYTES))


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
    body = b"\0" + len(message).to_bytes(4) + message
    head = (
        b"POST %b HTTP/1.1\r\nhost: limiter\r\nte: trailers\r\ncontent-type: application/grpc\r\n" % envoy_method.PATH
    )
    return head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)

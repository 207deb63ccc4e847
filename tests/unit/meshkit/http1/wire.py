"""A transport without a socket, and the bytes that go over it."""

import asyncio
from collections.abc import Sequence

PATH = b"/test.Service/"


class FakeTransport(asyncio.Transport):
    """What was written to it, and whether it is still there."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_told = asyncio.Event()
        self._is_reading = True
        self.closed = False
        self.is_gone = asyncio.Event()

    def write(self, data: object) -> None:
        assert not self.closed, "nobody is there to be told"
        assert isinstance(data, bytes)
        self.written += data
        self.is_told.set()

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True
        self.is_gone.set()

    abort = close

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The test says when there is too much."""

    def is_reading(self) -> bool:
        return self._is_reading

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True


async def settled() -> None:
    """Whatever can be done by now is done."""
    for _ in range(20):
        await asyncio.sleep(0)


def framed(message: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    """With `flag` or `length` it is another message than it says."""
    return bytes([flag]) + (len(message) if length is None else length).to_bytes(4) + message


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def head(method: bytes, *, verb: bytes = b"POST", headers: bytes = b"", kind: bytes = b"application/grpc") -> bytes:
    """Of a request whose body comes in chunks."""
    first = b"%b %b%b HTTP/1.1\r\nhost: mesh\r\n" % (verb, PATH, method)
    return first + b"content-type: %b\r\n%btransfer-encoding: chunked\r\n\r\n" % (kind, headers)


def request(
    method: bytes, *messages: bytes, verb: bytes = b"POST", headers: bytes = b"", kind: bytes = b"application/grpc"
) -> bytes:
    """As Envoy writes one."""
    body = b"".join(chunk(framed(message)) for message in messages)
    return head(method, verb=verb, headers=headers, kind=kind) + body + b"0\r\n\r\n"


OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n"


def answer(*messages: bytes, status: bytes = b"0", headers: bytes = b"", trailers: bytes = b"") -> bytes:
    """One with messages, as Envoy hands it on."""
    body = b"".join(chunk(framed(message)) for message in messages)
    end = b"0\r\ngrpc-status: %b\r\n%b\r\n" % (status, trailers)
    return OK + headers + b"transfer-encoding: chunked\r\n\r\n" + body + end


def refusal(status: bytes, message: bytes, headers: bytes = b"") -> bytes:
    """One without: trailers only, which are headers."""
    return OK + b"content-length: 0\r\ngrpc-status: %b\r\ngrpc-message: %b\r\n%b\r\n" % (status, message, headers)


def byte_by_byte(data: bytes) -> Sequence[bytes]:
    return [data[place : place + 1] for place in range(len(data))]

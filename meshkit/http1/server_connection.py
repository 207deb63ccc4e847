"""One connection of Envoy's to a process of ours: calls, one after the other."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import grpc
import httptools
import structlog

from meshkit.http1.framing import CallError, Header
from meshkit.http1.server_call import ServerCall

CONTENT_TYPE = b"application/grpc"
HEALTH_PATH = b"/health"
MOST_HEADER_BYTES = 64 << 10
"""Of one request, and of its trailers, give or take one packet; Envoy lets fewer pass."""
MOST_UNSENT_BYTES = 64 << 10
"""How much of an answer may wait here before its handler has to."""
KERNEL_BYTES = 256 << 10
"""How much of it the kernel may take, so that a reader that stops is noticed before megabytes lie on the way."""
IDLE_SECONDS = 75.0
"""How long a connection may wait for its next call: longer than Envoy keeps it (30 s), so that none meets a closing
one."""
ARRIVAL_SECONDS = 180.0
"""How long one may stand still in the middle of a request; Envoy gives one up sooner."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all connections of a server."""

    servers: Sequence["Methods"]
    """Whose methods are served."""
    is_serving: Callable[[], bool]
    """What the health check is told."""
    most_bytes: int = 4 << 20
    """Of a message that is received."""
    _found: dict[bytes, Any] = field(default_factory=dict)

    def find(self, path: bytes) -> Any:
        """The handler of a method by its path; None if there is none."""
        handler = self._found.get(path)
        if handler is None:
            method = path.decode("latin-1")
            handler = next((found for each in self.servers if (found := each.find(method))), None)
            if handler is not None:
                self._found[path] = handler
        return handler


class Methods(Protocol):
    """What a server offers."""

    def find(self, method: str) -> Any:
        """The grpc.RpcMethodHandler of a path, for serialised requests; None if there is none."""
        ...


class ServerConnection(asyncio.Protocol):
    """Made by the server's listener; `joins` and `leaves` are told of its beginning and its end."""

    def __init__(
        self,
        terms: Terms,
        *,
        joins: Callable[["ServerConnection"], None],
        leaves: Callable[["ServerConnection"], None],
    ) -> None:
        self._terms = terms
        self._joins = joins
        self._leaves = leaves
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._headers: list[Header] = []
        self._unread_bytes = 0
        """What came in since the last part of a body: a head, a trailer, or the beginning of one that never ends."""
        self._call: ServerCall | None = None
        self._is_arriving = False
        """Whether a request has begun and not ended."""
        self._is_refused = False
        """Whether the rest of the request that arrives is of no interest."""
        self._ends = False
        """Whether it closes once the call that is under way, if any, has its answer."""
        self._room: asyncio.Future[None] | None = None
        """Set while too much waits to be sent."""
        self._since = self._loop.time()
        """When something last came in, or the last call ended."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=MOST_UNSENT_BYTES)
        if (raw := self._transport.get_extra_info("socket")) is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        self._joins(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self._call is not None:
            self._call.leave()
        self.resume_writing()
        self._leaves(self)

    def pause_writing(self) -> None:
        self._room = self._room or self._loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._since = self._loop.time()
        self._unread_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # What Envoy does not send. Whoever is there gets no answer that could be taken for one.
            log.warning("connection cut off", reason=str(error.__context__ or error))
            self._transport.abort()
        else:
            if self._unread_bytes > MOST_HEADER_BYTES:
                log.warning("connection cut off", reason="the headers are too long")
                self._transport.abort()

    # How httptools tells what it reads; the names are its own.

    def on_message_begin(self) -> None:
        if self._call is not None or self._transport.is_closing():
            raise ValueError("a request begins before the one before has its answer, or after the last")
        self._path, self._headers = b"", []
        self._is_arriving, self._is_refused = True, False

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._ends = self._ends or not self._parser.should_keep_alive()
        if self._path == HEALTH_PATH or not self._is_grpc():
            return
        handler = self._terms.find(self._path)
        if handler is None:
            self._refuse(CallError(grpc.StatusCode.UNIMPLEMENTED, "This method is not served."))
            return
        try:
            self._call = ServerCall(self, handler, self._headers, most_bytes=self._terms.most_bytes)
        except CallError as error:
            self._refuse(error)
            return
        if self._call.reads_stream:
            self._call.begin()

    def on_body(self, body: bytes) -> None:
        self._unread_bytes = 0
        if self._call is not None:
            self._told(lambda call: call.receive(body))

    def on_message_complete(self) -> None:
        self._is_arriving, self._unread_bytes = False, 0
        if self._is_refused:
            self._transport.close()
        elif self._call is not None:
            self._told(lambda call: call.receive_end())
        elif self._path == HEALTH_PATH:
            self._answer_plainly(*(("200 OK", "serving") if self._terms.is_serving() else _NOT_SERVING))
        else:
            # Also keeps away pages in browsers, which may send no such type to another origin.
            self._answer_plainly("415 Unsupported Media Type", "gRPC is spoken here")

    # How a call sends its answer.

    @property
    def ends(self) -> bool:
        """Also if the caller has not sent all: whoever stops in the middle of a request begins no other."""
        return self._ends or self._is_arriving

    def send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    async def drained(self) -> None:
        if self._transport.is_closing():
            # Nothing is sent any more, and whoever writes on and on would not let the loop tell that to the call.
            self.pause_writing()
        if self._room is not None:
            await asyncio.shield(self._room)

    def hold(self, *, is_held: bool) -> None:
        if is_held:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def ended(self, call: ServerCall) -> None:
        self._call = None
        self._since = self._loop.time()
        if self._is_arriving:
            # What is still sent is read, or closing the connection would reset it and the answer be lost.
            self._is_refused = True
        elif self._ends:
            self._transport.close()

    # How it ends.

    def end(self) -> None:
        """Closes it: now if it is idle, else after the answer that is under way."""
        self._ends = True
        if self._call is None and not self._is_arriving:
            self._transport.close()

    def cut_off(self) -> None:
        """Closes it now, whatever is under way; the handler is cancelled."""
        self._transport.abort()

    def is_overdue(self, now: float) -> bool:
        """Whether whoever is at the other end has had time enough. `now` is the loop's time."""
        if self._is_arriving and not (self._call is not None and self._call.reads_stream):
            return now - self._since > ARRIVAL_SECONDS
        return self._call is None and now - self._since > IDLE_SECONDS

    def _is_grpc(self) -> bool:
        said = dict(self._headers).get(b"content-type", b"")
        return self._parser.get_method() == b"POST" and said.startswith(CONTENT_TYPE)

    def _told(self, tell: Callable[[ServerCall], None]) -> None:
        call = self._call
        assert call is not None  # noqa: S101 - looked at by those who call this
        try:
            tell(call)
        except CallError as error:
            call.refuse(error)

    def _refuse(self, error: CallError) -> None:
        """Ends a call for which there is no handler."""
        ServerCall(self, None, [], most_bytes=0).refuse(error)

    def _answer_plainly(self, status: str, text: str) -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {len(text)}\r\n"
        self.send((head + ("connection: close\r\n" if self._ends else "") + "\r\n" + text).encode())
        if self._ends:
            self._transport.close()


_NOT_SERVING = ("503 Service Unavailable", "not serving")

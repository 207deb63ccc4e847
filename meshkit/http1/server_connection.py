"""One connection of Envoy's to a process of ours: calls, one after the other."""

import asyncio
import math
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, cast

import grpc
import httptools
import structlog

from meshkit.http1.flow import FlowControl
from meshkit.http1.framing import CONTENT_TYPE, CallError, Header
from meshkit.http1.server_call import Handler, ServerCall

HEALTH_PATH = b"/health"
MOST_HEADER_BYTES = 64 << 10
"""Of one request, and of its trailers, give or take one packet; Envoy lets fewer pass."""
MOST_REFUSED_BYTES = 16 << 20
"""How much is read of a request that has its answer, so that the answer is not lost."""
MOST_UNSENT_BYTES = 64 << 10
"""How much of an answer may wait here before its handler has to."""
KERNEL_BYTES = 256 << 10
"""How much of it the kernel may take, so that a reader that stops is noticed before megabytes lie on the way."""
IDLE_SECONDS = 75.0
"""How long a connection may wait for its next call: longer than Envoy keeps it (30 s), so that none meets a closing
one."""
ARRIVAL_SECONDS = 180.0
"""How long a request may take to arrive that is not read as a stream; Envoy gives one up sooner."""

LAST_SECONDS = 10.0
"""The same for one whose head is not there when the process begins to leave, and for what nobody wants to read."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all connections of a server."""

    servers: Sequence["Methods"]
    """Whose methods are served."""
    is_serving: Callable[[], bool]
    """What the health check is told."""
    _found: dict[bytes, "Served"] = field(default_factory=dict, init=False, repr=False)

    def find(self, path: bytes) -> "Served | None":
        """The method with this path; None if there is none."""
        if path not in self._found:
            for each in self.servers:
                if (handler := each.find(path.decode("latin-1"))) is not None:
                    return self._found.setdefault(path, Served(handler, each.most_bytes))
        return self._found.get(path)


class Served(NamedTuple):
    """A method of a server."""

    handler: Handler
    most_bytes: int


class Methods(Protocol):
    """What a server offers."""

    @property
    def most_bytes(self) -> int:
        """Of a message that it receives."""
        ...

    def find(self, method: str) -> Handler | None:
        """The grpc.RpcMethodHandler of a path, for serialised requests; None if there is none."""
        ...


class ServerConnection(FlowControl):
    """Made by the server's listener; `joins` and `leaves` are told of its beginning and its end."""

    def __init__(
        self,
        terms: Terms,
        *,
        joins: Callable[["ServerConnection"], None],
        leaves: Callable[["ServerConnection"], None],
    ) -> None:
        super().__init__()
        self._terms = terms
        self._joins = joins
        self._leaves = leaves
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
        self._refused_bytes = 0
        """What came of such rests."""
        self._ends = False
        """Whether it closes once the call that is under way, if any, has its answer."""
        self._since = self._loop.time()
        """When the request that arrives began, or the last call ended."""

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

    def data_received(self, data: bytes) -> None:
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
        self._since = self._loop.time()
        self._is_arriving, self._is_refused = True, False

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._ends = self._ends or not self._parser.should_keep_alive()
        if self._path == HEALTH_PATH:
            return
        if not self._is_grpc():
            # Also keeps away pages in browsers, which may send no such type to another origin.
            self._ends, self._is_refused = True, True
            self._answer_plainly("415 Unsupported Media Type", "gRPC is spoken here")
            return
        served = self._terms.find(self._path)
        if served is None:
            self._refuse(CallError(grpc.StatusCode.UNIMPLEMENTED, "This method is not served."))
            return
        try:
            self._call = ServerCall(self, served.handler, self._headers, most_bytes=served.most_bytes)
        except CallError as error:
            self._refuse(error)
            return
        if self._call.reads_stream:
            self._call.begin()

    def on_body(self, body: bytes) -> None:
        self._unread_bytes = 0
        if self._is_refused:
            self._refused_bytes += len(body)
            if self._refused_bytes > MOST_REFUSED_BYTES:
                self._transport.abort()
        elif self._call is not None:
            self._tell(self._call, self._call.receive, body)

    def on_message_complete(self) -> None:
        self._is_arriving, self._unread_bytes = False, 0
        if self._is_refused:
            self._transport.close()
        elif self._call is not None:
            self._tell(self._call, self._call.receive_end)
        elif self._path == HEALTH_PATH:
            self._answer_plainly(*(("200 OK", "serving") if self._terms.is_serving() else _NOT_SERVING))
            if self._ends:
                self._transport.close()

    # How a call sends its answer.

    @property
    def ends(self) -> bool:
        """Also if the caller has not sent all: whoever stops in the middle of a request begins no other."""
        return self._ends or self._is_arriving

    def send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

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

    def break_off(self) -> None:
        """The same, but the call that is under way ends now, and is told so; its handler is cancelled."""
        self._ends = True
        if self._call is not None:
            self._call.refuse(CallError(grpc.StatusCode.UNAVAILABLE, "The process that served this call ends."))
        self._transport.close()

    def cut_off(self) -> None:
        """Closes it now, whatever is under way; the handler is cancelled."""
        self._transport.abort()

    def is_overdue(self, now: float) -> bool:
        """Whether whoever is at the other end has had time enough. `now` is the loop's time."""
        if not self._is_arriving:
            limit = IDLE_SECONDS if self._call is None else math.inf
        elif self._call is None:
            limit = LAST_SECONDS if self._ends else ARRIVAL_SECONDS
        else:
            limit = math.inf if self._call.reads_stream else ARRIVAL_SECONDS
        return now - self._since > limit

    def _is_grpc(self) -> bool:
        types = [value for name, value in self._headers if name == b"content-type"]
        return self._parser.get_method() == b"POST" and bool(types) and types[-1].lower() in _TYPES

    def _tell(self, call: ServerCall, receive: Callable[..., None], *what: bytes) -> None:
        try:
            receive(*what)
        except CallError as error:
            call.refuse(error)

    def _refuse(self, error: CallError) -> None:
        """Ends a call for which there is no handler."""
        ServerCall(self, None, [], most_bytes=0).refuse(error)

    def _answer_plainly(self, status: str, text: str) -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {len(text)}\r\n"
        self.send((head + ("connection: close\r\n" if self._ends else "") + "\r\n" + text).encode())


_TYPES = (CONTENT_TYPE, CONTENT_TYPE + b"+proto")
_NOT_SERVING = ("503 Service Unavailable", "not serving")

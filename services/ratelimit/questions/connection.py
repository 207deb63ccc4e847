"""One connection on which calls of one message are made over HTTP/1.1, one after the other."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import httptools
import structlog
from google.rpc import code_pb2

from services.ratelimit.questions import framing
from services.ratelimit.questions.framing import PREFIX_BYTES, CallError

Headers: TypeAlias = dict[bytes, bytes]
"""By their names in lower case."""
Method: TypeAlias = Callable[[bytes, Headers], Coroutine[Any, Any, bytes]]
"""Answers a message with one; the headers are the request's. Raises CallError."""

CONTENT_TYPE = b"application/grpc"
HEALTH_PATH = b"/health"
MOST_HEADER_BYTES = 32 << 10
"""Of all headers together, chunk sizes and trailers included."""
IDLE_SECONDS = 75.0
"""How long a connection may wait for its next call: longer than Envoy keeps it (30 s), so that none meets a closing
one."""
CALL_SECONDS = 10.0
"""How long a request may take from its first byte until its answer is on the way."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all connections of a server."""

    methods: Mapping[bytes, Method]
    """By their paths."""
    most_bytes: int
    """Of a message."""
    is_serving: Callable[[], bool]
    """What the health check is told."""


@dataclass(slots=True)
class _Request:
    method: bytes = b""
    path: bytes = b""
    headers: Headers = field(default_factory=dict)
    body: bytes = b""
    keeps_alive: bool = True


class Connection(asyncio.Protocol):
    """Answers requests in the order in which they came. Made by the server's listener; `leaves` is told of its end."""

    def __init__(self, terms: Terms, *, joins: Callable[["Connection"], None], leaves: Callable[["Connection"], None]):
        self._terms = terms
        self._joins = joins
        self._leaves = leaves
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._request = _Request()
        self._waiting: deque[_Request | bytes] = deque()
        """What came while another request was answered; bytes are a last answer."""
        self._answering: asyncio.Task[None] | None = None
        self._received = 0
        """Bytes of the request that is coming in; 0 between requests."""
        self._may_write = True
        self._ends = False
        """Whether it closes once the request that is under way, if any, has its answer."""
        self._is_deaf = False
        """Whether the rest of what comes in is not read."""
        self._since = self._loop.time()
        """When it last became idle or busy."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._joins(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Nobody waits for an answer any more."""
        self._waiting.clear()
        if self._answering is not None:
            self._answering.cancel()
        self._leaves(self)

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._go_on()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        if not self._received and self._answering is None:
            self._since = self._loop.time()
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._give_up(framing.plain("400 Bad Request", and_close=True))
        if self._received > self._terms.most_bytes + MOST_HEADER_BYTES:
            self._give_up(framing.plain("431 Request Header Fields Too Large", and_close=True))

    def on_message_begin(self) -> None:
        self._request = _Request()
        # One that came together with the end of the request before.
        self._received = self._received or 1

    def on_url(self, url: bytes) -> None:
        self._request.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        request = self._request
        request.body = request.body + body if request.body else body
        if len(request.body) > PREFIX_BYTES + self._terms.most_bytes:
            self._give_up(framing.refusal(framing.too_large(self._terms.most_bytes), and_close=True))

    def on_message_complete(self) -> None:
        request, self._received = self._request, 0
        request.method = self._parser.get_method()
        request.keeps_alive = self._parser.should_keep_alive()
        if not self._is_deaf:
            self._accept(request)

    def end(self) -> None:
        """Closes the connection: now if it is idle, else after the answer that is under way."""
        self._ends = True
        if self._is_idle:
            self._transport.close()

    def cut_off(self) -> None:
        self._transport.abort()

    def is_overdue(self, now: float) -> bool:
        """Whether whoever is at the other end has had time enough. `now` is the loop's time."""
        return now - self._since > (IDLE_SECONDS if self._is_idle else CALL_SECONDS)

    @property
    def _is_idle(self) -> bool:
        return not (self._received or self._waiting or self._answering)

    def _give_up(self, answer: bytes) -> None:
        """The last answer: what comes from here on is not read."""
        if not self._is_deaf:
            self._is_deaf = True
            self._transport.pause_reading()
            self._accept(answer)

    def _accept(self, request: _Request | bytes) -> None:
        if self._answering is None and self._may_write and not self._waiting:
            self._begin(request)
        else:
            self._waiting.append(request)
            self._transport.pause_reading()

    def _begin(self, request: _Request | bytes) -> None:
        if isinstance(request, bytes):
            self._ends = True
            self._write(request)
            return
        self._ends = self._ends or not request.keeps_alive
        method = self._terms.methods.get(request.path)
        if method is not None and request.method == b"POST":
            self._answering = self._loop.create_task(self._answer(method, request))
        else:
            self._write(self._health() if request.path == HEALTH_PATH else self._unserved())

    def _health(self) -> bytes:
        if self._terms.is_serving():
            return framing.plain("200 OK", "serving\n", and_close=self._ends)
        return framing.plain("503 Service Unavailable", "not serving\n", and_close=self._ends)

    def _unserved(self) -> bytes:
        return framing.refusal(CallError(code_pb2.UNIMPLEMENTED, "This method is not served."), and_close=self._ends)

    async def _answer(self, method: Method, request: _Request) -> None:
        try:
            if not request.headers.get(b"content-type", b"").startswith(CONTENT_TYPE):
                # Also keeps away pages in browsers, which may send no such type to another origin.
                answer = framing.plain("415 Unsupported Media Type", and_close=self._ends)
            else:
                message = framing.message_in(request.body, most_bytes=self._terms.most_bytes)
                answer = framing.reply(await method(message, request.headers), and_close=self._ends)
        except CallError as error:
            answer = framing.refusal(error, and_close=self._ends)
        except Exception:
            log.exception("question failed", path=request.path.decode(errors="replace"))
            fault = CallError(code_pb2.INTERNAL, "Something went wrong on our side.")
            answer = framing.refusal(fault, and_close=self._ends)
        finally:
            self._answering = None
        self._write(answer)
        self._go_on()

    def _write(self, answer: bytes) -> None:
        """It may have been closed meanwhile by the other end."""
        if self._transport.is_closing():
            return
        self._since = self._loop.time()
        self._transport.write(answer)
        if self._ends:
            self._transport.close()

    def _go_on(self) -> None:
        """To what came meanwhile."""
        while self._waiting and self._answering is None and self._may_write and not self._transport.is_closing():
            self._begin(self._waiting.popleft())
            if not self._waiting and not self._is_deaf:
                self._transport.resume_reading()

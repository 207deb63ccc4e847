"""One call as its handler sees it."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol, Self

import grpc
import structlog

from meshkit.http1 import framing
from meshkit.http1.framing import CallError, Header, Messages, Metadata

Handler = Any
"""A grpc.RpcMethodHandler for serialised requests, whose behaviour is asynchronous; the published types know only
synchronous ones."""

log = structlog.get_logger()


class Wire(Protocol):
    """Where an answer goes."""

    @property
    def ends(self) -> bool:
        """Whether the connection is of no more use after this answer."""
        ...

    def send(self, data: bytes) -> None: ...

    async def drained(self) -> None:
        """Until what was sent is on its way, or at least not too much of it waits. Never, if nobody reads it."""
        ...

    def hold(self, *, is_held: bool) -> None:
        """Whether what the caller sends is to wait."""
        ...

    def ended(self, call: "ServerCall") -> None:
        """The call sends nothing more. Told once, and not to a wire that is gone."""
        ...


class ServerCall:
    """What our handlers need of grpc.aio.ServicerContext, and how a call comes to its end.

    The head of an answer waits for a first message that is there at once, so that most answers are one packet.
    """

    def __init__(self, wire: Wire, handler: Handler, headers: list[Header], *, most_bytes: int) -> None:
        """Raises CallError for headers that are wrong."""
        self._wire = wire
        self._handler = handler
        self._metadata = framing.metadata_in(headers)
        self._requests = Messages(most_bytes)
        self._has_all = False
        self._is_held = False
        self._news = asyncio.Event()
        self._initial = b""
        self._is_promised = False
        """Whether the handler has said what the answer begins with."""
        self._is_begun = False
        """Whether the head of the answer is sent."""
        self._trailing = b""
        self._code = grpc.StatusCode.OK
        self._details = ""
        self._is_over = False
        """Whether nothing more may be sent: by now the wire may be another call's."""
        self._task: asyncio.Task[None] | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        if (granted := framing.granted_in(headers)) is not None:
            self._wait_until(granted)

    # What comes from the caller.

    def receive(self, data: bytes) -> None:
        """Raises CallError for what is no message, or one more than the method takes."""
        self._requests.feed(data)
        if self.reads_stream:
            self._news.set()
            self._hold(is_held=self._requests.is_full)
        elif len(self._requests) > 1:
            raise CallError(grpc.StatusCode.INTERNAL, "The call takes one message, not more.")

    def receive_end(self) -> None:
        """The caller has sent all. Raises CallError if that is less than the method takes."""
        self._requests.end()
        self._has_all = True
        self._news.set()
        self._hold(is_held=False)
        if not self.reads_stream:
            if not self._requests:
                raise CallError(grpc.StatusCode.INTERNAL, "The call takes one message, and has none.")
            self.begin()

    @property
    def reads_stream(self) -> bool:
        return bool(self._handler.request_streaming)

    def begin(self) -> None:
        """Sets the handler to work."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def leave(self) -> None:
        """The caller is gone, or the process ends: the handler is cancelled and nothing more is sent."""
        self._is_over = True
        self._stop()

    def refuse(self, error: CallError) -> None:
        """Ends the call with an error, whatever has become of it. Its handler is cancelled if it has one at work."""
        self._code, self._details, self._trailing = error.code, error.message, b""
        self._finish()
        self._stop()

    # What handlers use; the names are grpc's. Metadata that cannot be sent is a ValueError of theirs.

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def time_remaining(self) -> float | None:
        """Seconds; None without a deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        """Goes out with the first message if that is there at once, else before it. By it Envoy, which may make a call
        again that has not begun, knows that this one has."""
        self._initial = framing.lines(metadata)
        self._is_promised = True
        asyncio.get_running_loop().call_soon(self._begin_answer)

    async def write(self, message: Any) -> None:
        """Returns when the message is on its way, or only little is still before it."""
        body = framing.chunk(framing.framed(self._handler.response_serializer(message)))
        if self._is_over:
            raise asyncio.CancelledError
        self._wire.send(self._head() + body)
        await self._wire.drained()

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> None:
        """Ends the call; never returns. The status goes behind what was written, whether or not that is read."""
        self.set_trailing_metadata(trailing_metadata)
        self._code, self._details = code, details
        raise grpc.aio.AbortError("aborted by its handler")

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        self._trailing = framing.lines(metadata)

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        self._details = details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    # What the handler of a stream reads.

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._requests:
            if self._has_all:
                raise StopAsyncIteration
            self._hold(is_held=False)
            self._news.clear()
            await self._news.wait()
        return self._requests.take()

    # From the beginning to the end.

    async def _run(self) -> None:
        try:
            response = await self._behaviour()(self if self.reads_stream else self._requests.take(), self)
            if not self._handler.response_streaming:
                self._finish(framing.framed(self._handler.response_serializer(response)))
                return
        except grpc.aio.AbortError:
            pass
        except asyncio.CancelledError:
            if self._is_over:
                raise
            self._code, self._details = grpc.StatusCode.CANCELLED, "The call was ended by its server."
        except Exception:
            log.exception("rpc failed outside of its guard")
            self._code, self._details = grpc.StatusCode.UNKNOWN, "Something went wrong on our side."
        self._finish()

    def _behaviour(self) -> Callable[..., Any]:
        each = self._handler
        return each.unary_unary or each.unary_stream or each.stream_unary or each.stream_stream  # type: ignore[no-any-return]

    def _wait_until(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        self.refuse(CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline passed."))

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _hold(self, *, is_held: bool) -> None:
        if self._is_held != is_held and not self._is_over:
            self._is_held = is_held
            self._wire.hold(is_held=is_held)

    def _begin_answer(self) -> None:
        if not (self._is_begun or self._is_over):
            self._wire.send(self._head())

    def _head(self) -> bytes:
        """Of the answer, if it was not sent before."""
        if self._is_begun:
            return b""
        self._is_begun = True
        return b"%b%b%b\r\n" % (_STREAMED, self._closing(), self._initial)

    def _closing(self) -> bytes:
        return b"connection: close\r\n" if self._wire.ends else b""

    def _finish(self, message: bytes | None = None) -> None:
        """Sends what there is still to say. `message` is the answer of a call that has one."""
        if self._is_over:
            return
        self._hold(is_held=False)
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        end = framing.status_lines(self._code, self._details) + self._trailing
        if self._is_begun or self._is_promised or message is not None:
            body = b"" if message is None else framing.chunk(message)
            self._wire.send(b"%b%b0\r\n%b\r\n" % (self._head(), body, end))
        else:
            self._wire.send(b"%b%b%b%b\r\n" % (_WITHOUT_BODY, self._closing(), self._initial, end))
        self._wire.ended(self)


_STREAMED = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n"
_WITHOUT_BODY = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n"

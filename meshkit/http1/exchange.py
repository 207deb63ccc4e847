"""One call as the client's connection sees it: what is sent, and the answer as it comes."""

import asyncio
from typing import Protocol

import grpc

from meshkit.http1 import framing
from meshkit.http1.framing import CONTENT_TYPE, CallError, Header, Messages, Metadata

_OF_HTTP = {
    400: grpc.StatusCode.INTERNAL,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.UNIMPLEMENTED,
    429: grpc.StatusCode.UNAVAILABLE,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.UNAVAILABLE,
}
"""What an answer without a status of gRPC's means, as gRPC itself has it (doc/http-grpc-status-mapping.md)."""


class Line(Protocol):
    """The connection that a call has to itself."""

    def hold(self, *, is_held: bool) -> None:
        """Whether what the server sends is to wait."""
        ...

    def cut(self) -> None:
        """Ends the connection, and with it the call."""
        ...


class Exchange:
    """An answer from its head to its status. Whoever waits for it, one at a time, is told by errors of grpc.aio's."""

    def __init__(self, most_bytes: int) -> None:
        self.is_over = False
        self._messages = Messages(most_bytes)
        self._headers: list[Header] = []
        self._trailers: list[Header] = []
        self._error: grpc.aio.AioRpcError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._line: Line | None = None
        self._is_held = False
        self._is_grpc = False
        """Whether what comes are messages. Envoy says in plain text what kept it from asking anybody."""

    def made_on(self, line: Line) -> None:
        self._line = line

    # What comes from the server.

    def receive_head(self, headers: list[Header]) -> None:
        self._headers = headers
        self._is_grpc = dict(headers).get(b"content-type", b"").startswith(CONTENT_TYPE)
        self._tell()

    def receive(self, data: bytes) -> None:
        if not self._is_grpc:
            return
        try:
            self._messages.feed(data)
        except CallError as error:
            self.fail(error.code, error.message)
            return
        self._hold(is_held=self._messages.is_full)
        self._tell()

    def receive_end(self, trailers: list[Header], http_status: int) -> None:
        """The answer is complete. One without messages may say its status at once, among the headers."""
        self._hold(is_held=False)  # The next call's answer comes the same way.
        self._trailers = trailers or self._headers
        code, details = framing.status_in(self._trailers) or _without_status(http_status)
        if code is grpc.StatusCode.OK:
            code, details = self._whole()
        if code is not grpc.StatusCode.OK:
            self._error = self._failure(code, details)
        self.is_over = True
        self._tell()

    def fail(self, code: grpc.StatusCode, details: str) -> None:
        """The call ends here, without an answer or in the middle of one, and with it its connection."""
        if self.is_over:
            return
        self._error = self._failure(code, details)
        self.is_over = True
        if self._line is not None:
            self._line.cut()
        self._tell()

    # What the caller waits for.

    def check(self) -> None:
        """Raises AioRpcError if the call has failed."""
        if self._error is not None:
            raise self._error

    async def head(self) -> Metadata:
        """What the answer begins with. Raises AioRpcError if it does not begin."""
        while not (self._headers or self.is_over):
            await self._news()
        if not self._headers:
            self.check()
        return _readable(self._headers)

    async def next(self) -> bytes | None:
        """The next message; None at the end. Raises AioRpcError for a failure, behind the messages before it."""
        while not (self._messages or self.is_over):
            self._hold(is_held=False)
            await self._news()
        if self._messages:
            return self._messages.take()
        self.check()
        return None

    async def only(self) -> bytes:
        """The message of a call that has one, when all is known. Raises AioRpcError, also if one too many comes, before
        the call is over."""
        while not self.is_over and len(self._messages) <= 1:
            self._hold(is_held=False)  # However large it is, its status comes behind it.
            await self._news()
        self.check()
        if len(self._messages) != 1:
            raise self._failure(grpc.StatusCode.INTERNAL, f"the answer has {len(self._messages)} messages, not one")
        return self._messages.take()

    async def _news(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _tell(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _hold(self, *, is_held: bool) -> None:
        if self._is_held != is_held and self._line is not None:
            self._is_held = is_held
            self._line.hold(is_held=is_held)

    def _whole(self) -> tuple[grpc.StatusCode, str]:
        try:
            self._messages.end()
        except CallError as error:
            return error.code, error.message
        return grpc.StatusCode.OK, ""

    def _failure(self, code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
        initial, trailing = (grpc.aio.Metadata(*_readable(each)) for each in (self._headers, self._trailers))
        return grpc.aio.AioRpcError(code, initial, trailing, details=details)


def _readable(headers: list[Header]) -> Metadata:
    try:
        return framing.metadata_in(headers)
    except CallError:
        return ()


def _without_status(http_status: int) -> tuple[grpc.StatusCode, str]:
    code = _OF_HTTP.get(http_status, grpc.StatusCode.UNKNOWN)
    return code, f"an answer without a status of gRPC's; HTTP's is {http_status}"

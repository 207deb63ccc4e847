"""Calls as grpc.aio has them, for those who make them: awaited, or read message by message."""

import asyncio
import math
from collections.abc import AsyncIterable, Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

import grpc

from meshkit.http1 import framing
from meshkit.http1.client_connection import ClientConnection
from meshkit.http1.exchange import Exchange
from meshkit.http1.framing import Metadata
from meshkit.http1.pool import Pool

_LATE = "the deadline passed"


@dataclass(frozen=True, slots=True)
class Method:
    """What all calls of a method have in common."""

    pool: Pool
    head: bytes
    """Of a request, but for its length, its timeout and its metadata."""
    serialize: Callable[[Any], bytes]
    deserialize: Callable[[bytes], Any]
    most_bytes: int
    """Of a message that is received."""


class Call:
    """A call that begins when it is waited for. Whoever stops waiting for an answer, or cancels the call, ends the
    connection that it has, by which the other end knows."""

    def __init__(self, method: Method, timeout: float | None, metadata: Metadata) -> None:
        """`timeout` in seconds. Raises ValueError for metadata that cannot be sent."""
        self._method = method
        self._metadata = framing.lines(metadata)
        self._exchange = Exchange(method.most_bytes)
        self._seconds = math.inf if timeout is None else timeout
        self._until: float | None = None
        """The deadline by the loop's time, once the call has begun and if it has one."""
        self._timer: asyncio.Handle | None = None

    async def initial_metadata(self) -> Metadata:
        """Of a call that has begun; before that it waits for ever. Raises AioRpcError if the answer does not begin."""
        return await self._exchange.head()

    def cancel(self) -> None:
        """Does nothing to a call that is over."""
        self._stop_timer()
        self._exchange.fail(grpc.StatusCode.CANCELLED, "the call was cancelled")

    async def _begin(self, length: bytes, body: bytes = b"", *, is_whole: bool) -> ClientConnection:
        """Sends what comes first. Raises AioRpcError if there is no connection."""
        if self._seconds < math.inf:
            loop = asyncio.get_running_loop()
            self._until = loop.time() + self._seconds
            self._timer = loop.call_later(self._seconds, self._expire)
        try:
            connection = await self._method.pool.take(self._seconds)
        except OSError as error:
            self._exchange.fail(grpc.StatusCode.UNAVAILABLE, str(error))  # Unless it was late or cancelled before.
            self._exchange.check()
            raise
        if self._exchange.is_over:
            connection.close()
            self._exchange.check()
        connection.begin(self._exchange, self._head(length) + body, is_whole=is_whole)
        return connection

    def _head(self, length: bytes) -> bytes:
        granted = b""
        if self._until is not None:
            left = max(0.0, self._until - asyncio.get_running_loop().time())
            granted = b"grpc-timeout: %b\r\n" % framing.timeout_value(left).encode()
        return b"%b%b\r\n%b%b\r\n" % (self._method.head, length, granted, self._metadata)

    def _expire(self) -> None:
        self._exchange.fail(grpc.StatusCode.DEADLINE_EXCEEDED, _LATE)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def _only(self) -> Any:
        return self._method.deserialize(await self._exchange.only())


class WholeCall(Call):
    """All messages there at once, one back: awaited once. It holds all of them from its making, which raises what the
    requests raise."""

    def __init__(self, method: Method, requests: Iterable[Any], timeout: float | None, metadata: Metadata) -> None:
        super().__init__(method, timeout, metadata)
        self._requests = b"".join([framing.framed(method.serialize(request)) for request in requests])

    def __await__(self) -> Generator[Any, None, Any]:
        return self._answer().__await__()

    async def _answer(self) -> Any:
        try:
            await self._begin(b"content-length: %d" % len(self._requests), self._requests, is_whole=True)
            return await self._only()
        finally:
            self.cancel()


class StreamCall(Call):
    """One message there, many back. Cancelled by whoever began it, unless it was read to its end."""

    def __init__(self, method: Method, request: Any, timeout: float | None, metadata: Metadata) -> None:
        super().__init__(method, timeout, metadata)
        self._request = framing.framed(method.serialize(request))
        self._is_begun = False

    async def read(self) -> Any:
        """The next message; grpc.aio.EOF at the end. Raises AioRpcError. Who is cancelled here cancels the call."""
        try:
            if not self._is_begun:
                self._is_begun = True
                await self._begin(b"content-length: %d" % len(self._request), self._request, is_whole=True)
            message = await self._exchange.next()
            if message is not None:
                return self._method.deserialize(message)
        except BaseException:
            self.cancel()
            raise
        self._stop_timer()
        return grpc.aio.EOF


class CollectedCall(Call):
    """Many messages there, as they come, and one back: awaited once. Raises whatever the requests raise, too. An answer
    that comes before the last of them is an answer: the others are not asked for."""

    def __init__(self, method: Method, requests: AsyncIterable[Any], timeout: float | None, metadata: Metadata) -> None:
        super().__init__(method, timeout, metadata)
        self._requests = requests

    def __await__(self) -> Generator[Any, None, Any]:
        return self._answer().__await__()

    async def _answer(self) -> Any:
        try:
            connection = await self._begin(b"transfer-encoding: chunked", is_whole=False)
            sending = asyncio.create_task(self._send(connection))
            try:
                return await self._only()
            finally:
                sending.cancel()
                (failure,) = await asyncio.gather(sending, return_exceptions=True)
                if isinstance(failure, Exception):
                    raise failure
        finally:
            self.cancel()

    async def _send(self, connection: ClientConnection) -> None:
        try:
            async for request in self._requests:
                await connection.send(framing.chunk(framing.framed(self._method.serialize(request))))
            connection.end(framing.LAST_CHUNK)
        except Exception:
            self.cancel()
            raise

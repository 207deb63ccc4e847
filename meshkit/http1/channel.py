"""A channel of gRPC over HTTP/1.1 to Envoy: what generated stubs need of grpc.aio's."""

import ssl
from collections.abc import AsyncIterable, Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Self

from meshkit.http1.calls import CollectedCall, Method, StreamCall, WholeCall
from meshkit.http1.framing import Metadata
from meshkit.http1.pool import Pool

Serializer = Callable[[Any], bytes]
Deserializer = Callable[[bytes], Any]


class Http1Channel:
    """Calls to one address. Closed as an async context manager; calls under way end then."""

    def __init__(self, address: str, *, most_bytes: int, tls: ssl.SSLContext | None = None, name: str = "") -> None:
        """`most_bytes` is what a received message may have. With `tls`, the server must be certified as `name`."""
        self._address = address
        self._most_bytes = most_bytes
        self._pool = Pool(address, tls=tls, name=name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.close()

    # What generated stubs call; the names are grpc's.

    def unary_unary(
        self, method: str, request_serializer: Serializer, response_deserializer: Deserializer, **_: Any
    ) -> Callable[..., WholeCall]:
        return partial(_unary, self._method(method, request_serializer, response_deserializer))

    def unary_stream(
        self, method: str, request_serializer: Serializer, response_deserializer: Deserializer, **_: Any
    ) -> Callable[..., StreamCall]:
        return partial(_streamed, self._method(method, request_serializer, response_deserializer))

    def stream_unary(
        self, method: str, request_serializer: Serializer, response_deserializer: Deserializer, **_: Any
    ) -> Callable[..., WholeCall | CollectedCall]:
        """Messages that are at hand (no AsyncIterable) are sent in one piece."""
        return partial(_collected, self._method(method, request_serializer, response_deserializer))

    def stream_stream(self, method: str, *_: Any, **__: Any) -> Callable[..., NoReturn]:
        """No client of ours calls such a method; stubs ask for it all the same."""
        return partial(_cannot, method)

    def _method(self, method: str, serialize: Serializer, deserialize: Deserializer) -> Method:
        head = f"POST {method} HTTP/1.1\r\nhost: {self._address}\r\ncontent-type: application/grpc\r\nte: trailers\r\n"
        return Method(self._pool, head.encode(), serialize, deserialize, self._most_bytes)


def _unary(method: Method, request: Any, *, timeout: float | None = None, metadata: Metadata = ()) -> WholeCall:
    return WholeCall(method, (request,), timeout, metadata)


def _streamed(method: Method, request: Any, *, timeout: float | None = None, metadata: Metadata = ()) -> StreamCall:
    return StreamCall(method, request, timeout, metadata)


def _collected(
    method: Method,
    requests: AsyncIterable[Any] | Iterable[Any],
    *,
    timeout: float | None = None,
    metadata: Metadata = (),
) -> WholeCall | CollectedCall:
    if isinstance(requests, AsyncIterable):
        return CollectedCall(method, requests, timeout, metadata)
    return WholeCall(method, requests, timeout, metadata)


def _cannot(method: str, *_: Any, **__: Any) -> NoReturn:
    raise NotImplementedError(f"{method} streams both ways, which a channel over HTTP/1.1 does not")

"""Server-sent events: how they are written, and how a stream of them ends."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from meshkit.errors import ShoalError, internal
from services.gateway import problems
from services.gateway.disconnects import while_connected

DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": heartbeat\n\n"

log = structlog.get_logger()


def event(data: bytes, *, id: str = "", name: str = "") -> bytes:  # noqa: A002 - the field's name in the standard
    """One event. `data` is a single line, as JSON always is."""
    lines = [b"id: " + id.encode()] if id else []
    if name:
        lines.append(b"event: " + name.encode())
    return b"\n".join([*lines, b"data: " + data, b"", b""])


class EventStream(StreamingResponse):
    """Streams the events and then [DONE]; a failure becomes the stream's last event, and there is no [DONE].

    `stop` is called in the end, however it comes: the events are over, or the client has left.
    """

    def __init__(
        self,
        events: AsyncIterator[bytes],
        *,
        stop: Callable[[], None],
        path: str,
        request_id: str,
        headers: dict[str, str],
    ) -> None:
        super().__init__(
            _finished(events, path=path, request_id=request_id),
            media_type="text/event-stream",
            headers={**headers, "cache-control": "no-store", "x-accel-buffering": "no"},
        )
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with suppress(ClientDisconnect):
                await while_connected(Request(scope, receive), self.stream_response(send))
        finally:
            self._stop()


async def _finished(events: AsyncIterator[bytes], *, path: str, request_id: str) -> AsyncIterator[bytes]:
    try:
        async for written in events:
            yield written
    except ShoalError as error:
        yield event(problems.body(error, path=path, request_id=request_id), name="error")
    except Exception:
        log.exception("stream failed")
        fault = internal()
        yield event(problems.body(fault, path=path, request_id=request_id), name="error")
    else:
        yield DONE

"""Server-sent events: how they are written, and how a stream of them ends."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import structlog
from starlette.responses import StreamingResponse

from meshkit.errors import Reason, ShoalError
from services.gateway import problems

DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": heartbeat\n\n"

log = structlog.get_logger()


def event(data: bytes, *, id: str = "", name: str = "") -> bytes:  # noqa: A002 - the field's name in the standard
    """One event. `data` is a single line, as JSON always is."""
    lines = [b"id: " + id.encode()] if id else []
    if name:
        lines.append(b"event: " + name.encode())
    return b"\n".join([*lines, b"data: " + data, b"", b""])


def response(
    events: AsyncGenerator[bytes, None], *, path: str, request_id: str, headers: dict[str, str]
) -> StreamingResponse:
    """Streams the events and then [DONE]; a failure becomes the stream's last event, and there is no [DONE]."""
    return StreamingResponse(
        _finished(events, path=path, request_id=request_id),
        media_type="text/event-stream",
        headers={**headers, "cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _finished(events: AsyncGenerator[bytes, None], *, path: str, request_id: str) -> AsyncIterator[bytes]:
    try:
        async with aclosing(events):
            async for written in events:
                yield written
    except ShoalError as error:
        yield event(problems.body(error, path=path, request_id=request_id), name="error")
    except Exception:
        log.exception("stream failed")
        fault = ShoalError(Reason.INTERNAL, "Something went wrong on our side.")
        yield event(problems.body(fault, path=path, request_id=request_id), name="error")
    else:
        yield DONE

"""What a request says, in its JSON body or its query: read with word of the field that is wrong. And JSON written."""

from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from meshkit.errors import Reason, ShoalError, field_invalid
from services.gateway.validation import LONGEST_NAME, invalid

T = TypeVar("T")


async def read_json(request: Request, kind: type[T], *, max_bytes: int) -> T:
    """The body as `kind`. Raises ShoalError naming the field at fault, or "body" if it is no JSON at all."""
    content = await _read(request, max_bytes)
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise invalid(error, kind) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ShoalError(Reason.MALFORMED_REQUEST, f"The body is no valid JSON: {error}.", field="body") from None
    except RecursionError:
        raise ShoalError(Reason.MALFORMED_REQUEST, "The body is nested too deeply.", field="body") from None


def read_query(request: Request, kind: type[T]) -> T:
    """The query as `kind`, numbers and booleans written as in JSON. Raises ShoalError naming the field at fault."""
    values: dict[str, str] = {}
    try:
        pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise ShoalError(Reason.MALFORMED_REQUEST, "The query is no valid UTF-8.", field="query") from None
    for name, value in pairs:
        if name in values:
            raise field_invalid(name[:LONGEST_NAME], "be given once")
        values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise invalid(error, kind) from None


def json_response(content: Any, *, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    """The content as JSON, which no cache on the way may keep unless `headers` say otherwise.

    HTTP lets caches keep some answers that say nothing (RFC 9111, 3 and 4.2.2); nearly all of ours are private and true
    for a moment.
    """
    return Response(
        msgspec.json.encode(content),
        status_code=status_code,
        media_type="application/json",
        headers={"cache-control": "no-store", **(headers or {})},
    )


async def _read(request: Request, max_bytes: int) -> bytearray:
    content, is_whole = bytearray(), False
    while not is_whole:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        content += message.get("body", b"")
        is_whole = not message.get("more_body", False)
        if len(content) > max_bytes:
            raise ShoalError(
                Reason.REQUEST_TOO_LARGE, f"The body is larger than {max_bytes:,} bytes; send less.", field="body"
            )
    return content

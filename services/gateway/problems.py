"""Errors as HTTP: the only place where they are rendered for users of REST."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec
from starlette.responses import Response

from meshkit.errors import Code, Reason, ShoalError
from services.gateway.shapes import OpenAIError, OpenAIProblem, Problem

HTTP_STATUS: Mapping[Code, int] = MappingProxyType(
    {
        Code.INVALID_ARGUMENT: 400,
        Code.NOT_FOUND: 404,
        Code.ABORTED: 409,
        Code.UNAUTHENTICATED: 401,
        Code.PERMISSION_DENIED: 403,
        Code.RESOURCE_EXHAUSTED: 429,
        Code.UNIMPLEMENTED: 501,
        Code.UNAVAILABLE: 503,
        Code.DEADLINE_EXCEEDED: 504,
        Code.INTERNAL: 500,
    }
)
_HTTP_ONLY = {Reason.METHOD_NOT_ALLOWED: 405, Reason.REQUEST_TOO_LARGE: 413, Reason.NOT_CACHED: 504}
"""HTTP has a finer word for these than gRPC; what only-if-cached comes to is from RFC 9111, 5.2.1.7."""

OPENAI_PREFIX = "/v1/"
_OPENAI_FIELDS = {"task": "messages", "history": "messages"}
"""Fields of the agent's that a caller of OpenAI's API knows by another name."""


def response(error: ShoalError, *, path: str, request_id: str) -> Response:
    """The error in the shape of the API that `path` belongs to."""
    headers = {"cache-control": "no-store"}
    if error.reason is Reason.NOT_CACHED:
        # OpenAI's SDKs try again after every status of the 500s, unless told not to.
        headers["x-should-retry"] = "false"
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_seconds)))
    return Response(
        body(error, path=path, request_id=request_id),
        status_code=http_status(error),
        media_type="application/json",
        headers=headers,
    )


def http_status(error: ShoalError) -> int:
    return _HTTP_ONLY.get(error.reason) or HTTP_STATUS[error.code]


def body(error: ShoalError, *, path: str, request_id: str) -> bytes:
    """The error object, also as it stands in a stream that fails half-way."""
    if path.startswith(OPENAI_PREFIX):
        return msgspec.json.encode(OpenAIProblem(_openai_error(error)))
    return msgspec.json.encode(
        Problem(
            error=error.message,
            code=error.code,
            reason=error.reason,
            field=error.field,
            request_id=request_id,
            retry_after_seconds=_retry_after(error),
        )
    )


def _openai_error(error: ShoalError) -> OpenAIError:
    return OpenAIError(
        message=error.message,
        type=_openai_type(http_status(error)),
        param=_OPENAI_FIELDS.get(error.field, error.field) or None,
        code=error.reason.lower(),
        retry_after_seconds=_retry_after(error),
    )


def _retry_after(error: ShoalError) -> float | msgspec.UnsetType:
    return msgspec.UNSET if error.retry_after_seconds is None else error.retry_after_seconds


def _openai_type(status: int) -> Literal["invalid_request_error", "rate_limit_error", "server_error"]:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"

"""The errors that Envoy makes itself, in the shapes of the API: our JSON, OpenAI's JSON, a sentence for gRPC."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from envoyconf.extension import EnvoyObject, extension

NOTHING: Mapping[str, str] = MappingProxyType({})
IS_GRPC = "('content-type' in request.headers && request.headers['content-type'].startsWith('application/grpc'))"
OVERFLOW = "response.code_details == 'upstream_reset_before_response_started{overflow}'"
IS_OPENAI = "request.path.startsWith('/v1/')"


@dataclass(frozen=True)
class EnvoyError:
    """One kind of error: when it applies (an expression of Envoy's) and what the client is told."""

    when: str
    code: str
    reason: str
    openai_type: str
    message: str
    retry_after_seconds: int | None = None
    """When to try again, if that is of use."""
    grpc_code: str = ""
    """The status over gRPC, where that has a convention of its own."""

    @property
    def grpc_status(self) -> int:
        return int(code_pb2.Code.Value(self.grpc_code or self.code))


BUSY = EnvoyError(
    f"{OVERFLOW} || response.code_details == 'denied_by_admission_control'",
    "UNAVAILABLE",
    "REPLICA_BUSY",
    "server_error",
    "All replicas are busy at the moment, so nothing was done. Try again shortly.",
    retry_after_seconds=1,
)

ERRORS = (
    EnvoyError(
        "response.code == 429",
        "RESOURCE_EXHAUSTED",
        "RATE_LIMITED",
        "rate_limit_error",
        "Too many requests from this address. Wait a second, then try again.",
    ),
    EnvoyError(
        "response.code == 408 || response.code == 504",
        "DEADLINE_EXCEEDED",
        "DEADLINE_EXCEEDED",
        "server_error",
        "The request took too long and was ended.",
    ),
    EnvoyError(
        "response.code == 413 || response.code == 431",
        "INVALID_ARGUMENT",
        "REQUEST_TOO_LARGE",
        "invalid_request_error",
        "The request is too large: its headers may have 32 KiB in sum, 100 of them, and its body 4 MiB.",
        # So says every gRPC library, ours in the replicas too, of messages between 4 MiB and what Envoy lets pass.
        grpc_code="RESOURCE_EXHAUSTED",
    ),
    EnvoyError(
        "response.code_details == 'rate_limiter_error'",
        "UNAVAILABLE",
        "LIMITER_UNAVAILABLE",
        "server_error",
        "The limits cannot be checked at the moment, so nothing was done. Try again shortly.",
        retry_after_seconds=1,
    ),
    BUSY,
    EnvoyError(
        "response.code == 502 || response.code == 503",
        "UNAVAILABLE",
        "SERVICE_UNAVAILABLE",
        "server_error",
        "The service cannot be reached at the moment. Try again shortly.",
    ),
    EnvoyError(
        "response.code == 500",
        "INTERNAL",
        "INTERNAL",
        "server_error",
        "Something went wrong on our side. The logs say more, under the request id.",
    ),
    EnvoyError(
        "response.code >= 400",
        "INVALID_ARGUMENT",
        "MALFORMED_REQUEST",
        "invalid_request_error",
        "The request is malformed: its path or its headers are not valid.",
    ),
)


def local_replies() -> EnvoyObject:
    """The first mapper that matches decides. What the limiter or a route refuses has its own body already."""
    complete = {"filter": _matching("response.code_details in ['request_rate_limited', 'direct_response']")}
    bodies = [mapper for error in ERRORS for mapper in (as_grpc(error), as_openai(error), as_rest(error))]
    return {"mappers": [complete, *bodies]}


def inner_replies() -> EnvoyObject:
    """Our services are told when nothing was done because a pool is full; of other errors they make what they need."""
    return {"mappers": [as_grpc(BUSY)]}


def as_grpc(error: EnvoyError) -> EnvoyObject:
    """The sentence, which Envoy then sends as grpc-message, and what our own errors have with them."""
    body = {"text_format_source": {"inline_string": error.message}}
    headers = {"grpc-status": str(error.grpc_status), "grpc-status-details-bin": rich_status(error)}
    if error.retry_after_seconds is not None:
        headers["grpc-retry-pushback-ms"] = str(1000 * error.retry_after_seconds)
    return _reply(error, f"({error.when}) && {IS_GRPC}", body, headers)


def rich_status(error: EnvoyError) -> str:
    """The google.rpc.Status with ErrorInfo and RetryInfo, as a header. Code and message equal those of the reply."""
    status = status_pb2.Status(code=error.grpc_status, message=error.message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=f"ERROR_REASON_{error.reason}", domain="shoal"))
    if error.retry_after_seconds is not None:
        delay = duration_pb2.Duration(seconds=error.retry_after_seconds)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return base64.b64encode(status.SerializeToString()).decode().rstrip("=")


def as_openai(error: EnvoyError) -> EnvoyObject:
    """The shape that clients of OpenAI's API read."""
    body = {"message": error.message, "type": error.openai_type, "param": None, "code": error.reason.lower()}
    return _reply(error, f"({error.when}) && {IS_OPENAI}", {"json_format": {"error": body}})


def as_rest(error: EnvoyError) -> EnvoyObject:
    """The shape of our own REST API. The request id is null if the request was too broken to be given one."""
    body = {
        "error": error.message,
        "code": error.code,
        "reason": error.reason,
        "field": "",
        "request_id": "%STREAM_ID%",
    }
    return _reply(error, error.when, {"json_format": body})


def _reply(error: EnvoyError, when: str, body: EnvoyObject, headers: Mapping[str, str] = NOTHING) -> EnvoyObject:
    if error.retry_after_seconds is not None:
        headers = {**headers, "retry-after": str(error.retry_after_seconds)}
    mapper = {"filter": _matching(when), "body_format_override": body}
    added = [{"header": {"key": key, "value": value}} for key, value in headers.items()]
    return mapper | ({"headers_to_add": added} if added else {})


def _matching(expression: str) -> EnvoyObject:
    cel = extension(
        "envoy.access_loggers.extension_filters.cel",
        "extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        expression=expression,
    )
    return {"extension_filter": cel}

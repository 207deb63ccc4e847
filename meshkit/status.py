"""Errors on the wire: ShoalError to a gRPC status with details, and back."""

import math

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from meshkit.errors import Code, Reason, ShoalError, internal

DOMAIN = "shoal"
PUSHBACK_HEADER = "grpc-retry-pushback-ms"

_REASON_PREFIX = "ERROR_REASON_"


def to_status(error: ShoalError) -> status_pb2.Status:
    """The google.rpc.Status of an error: ErrorInfo always, RetryInfo if it is known when to try again."""
    info = error_details_pb2.ErrorInfo(reason=_REASON_PREFIX + error.reason, domain=DOMAIN)
    if error.field:
        info.metadata["field"] = error.field
    details = [_packed(info)]
    if error.retry_after_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(_milliseconds(error.retry_after_seconds))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=code_pb2.Code.Value(error.code), message=error.message, details=details)


def trailers(error: ShoalError) -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata that carries an error's details to a gRPC client."""
    details: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", to_status(error).SerializeToString())]
    if error.retry_after_seconds is not None:
        details.append((PUSHBACK_HEADER, str(_milliseconds(error.retry_after_seconds))))
    return tuple(details)


def status_code(code: Code) -> grpc.StatusCode:
    return grpc.StatusCode[code]


def from_rpc_error(error: grpc.aio.AioRpcError) -> ShoalError:
    """What another service's failure means here.

    Errors of our own come back as they were raised; others (a proxy's refusal, a lost connection) by their status code.
    """
    known = _from_details(error)
    if known is not None:
        return known
    match error.code():
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return ShoalError(Reason.DEADLINE_EXCEEDED, "The deadline passed before the answer was complete.")
        case grpc.StatusCode.UNAVAILABLE:
            return ShoalError(Reason.SERVICE_UNAVAILABLE, "The service cannot be reached now; try again.")
        case grpc.StatusCode.INTERNAL | grpc.StatusCode.UNKNOWN | grpc.StatusCode.CANCELLED:
            # Ours come with details. Without, it is the stream that broke: whoever served it died half-way.
            return ShoalError(Reason.SERVICE_UNAVAILABLE, "The service broke off before it was done; try again.")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return ShoalError(Reason.REQUEST_TOO_LARGE, "The request or its answer is larger than the limit.")
        case _:
            return internal()


def _from_details(error: grpc.aio.AioRpcError) -> ShoalError | None:
    try:
        status = rpc_status.from_call(error)
    except (DecodeError, ValueError):
        # Somebody on the way changed the status, or wrote the details wrongly.
        return None
    if status is None:
        return None
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    retry_after: float | None = None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            detail.Unpack(retry)
            retry_after = retry.retry_delay.ToMilliseconds() / 1000
    name = info.reason.removeprefix(_REASON_PREFIX)
    if info.domain != DOMAIN or name not in Reason.__members__:
        return None
    return ShoalError(
        Reason[name], status.message, field=info.metadata.get("field", ""), retry_after_seconds=retry_after
    )


def _milliseconds(seconds: float) -> int:
    """Rounded up, but not for the last bit of a binary fraction."""
    return math.ceil(round(seconds * 1000, 6))


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed

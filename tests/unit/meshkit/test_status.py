"""Errors on the wire and back."""

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from meshkit import status
from meshkit.errors import Reason, ShoalError

Trailers = tuple[tuple[str, str | bytes], ...]


def received(code: grpc.StatusCode, message: str, trailers: Trailers) -> ShoalError:
    """What a client makes of a status and its trailers."""
    metadata = grpc.aio.Metadata(*trailers)
    return status.from_rpc_error(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, details=message))


def sent_and_received(error: ShoalError) -> ShoalError:
    return received(status.status_code(error.code), error.message, status.trailers(error))


def told(error: ShoalError) -> tuple[Reason, str, str, float | None]:
    return error.reason, error.message, error.field, error.retry_after_seconds


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("field", ["", "task"])
@pytest.mark.parametrize("retry_after_seconds", [None, 0.0, 0.73, 3600.0])
def test_every_error_comes_back_as_it_was_raised(reason: Reason, field: str, retry_after_seconds: float | None) -> None:
    error = ShoalError(reason, "Sätze, 100 %.\n", field=field, retry_after_seconds=retry_after_seconds)
    assert told(sent_and_received(error)) == told(error)


@given(milliseconds=st.integers(0, 10**9))
def test_whole_milliseconds_are_not_changed_on_the_way(milliseconds: int) -> None:
    error = ShoalError(Reason.RATE_LIMITED, "Wait.", retry_after_seconds=milliseconds / 1000)
    assert sent_and_received(error).retry_after_seconds == milliseconds / 1000
    assert (status.PUSHBACK_HEADER, str(milliseconds)) in status.trailers(error)


@given(seconds=st.floats(0, 10**6))
def test_nobody_is_told_to_come_back_too_early(seconds: float) -> None:
    error = ShoalError(Reason.RATE_LIMITED, "Wait.", retry_after_seconds=seconds)
    told_seconds = sent_and_received(error).retry_after_seconds
    assert told_seconds is not None
    assert seconds - 1e-8 <= told_seconds <= seconds + 0.001


def test_without_a_time_to_try_again_no_pushback_is_sent() -> None:
    error = ShoalError(Reason.INTERNAL, "Something went wrong.")
    assert [key for key, _ in status.trailers(error)] == ["grpc-status-details-bin"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED),
        (grpc.StatusCode.UNAVAILABLE, Reason.SERVICE_UNAVAILABLE),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.REQUEST_TOO_LARGE),
        (grpc.StatusCode.UNKNOWN, Reason.SERVICE_UNAVAILABLE),
        (grpc.StatusCode.UNIMPLEMENTED, Reason.INTERNAL),
        (grpc.StatusCode.INTERNAL, Reason.SERVICE_UNAVAILABLE),
    ],
)
def test_a_status_without_details_is_understood_by_its_code(code: grpc.StatusCode, reason: Reason) -> None:
    error = received(code, "upstream connect error: 10.0.0.7:9000", ())
    assert error.reason is reason
    assert "10.0.0.7" not in error.message


def details(reason: str, domain: str) -> Trailers:
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
    message = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="Gone.", details=[info])
    return (("grpc-status-details-bin", message.SerializeToString()),)


@pytest.mark.parametrize(
    "trailers",
    [
        details("ERROR_REASON_SESSION_NOT_FOUND", "somebody.example"),
        details("ERROR_REASON_OF_THE_FUTURE", status.DOMAIN),
        (("grpc-status-details-bin", b"\xff\xff"),),
    ],
    ids=["of another domain", "of a newer version", "no protobuf"],
)
def test_details_that_are_not_ours_are_passed_over(trailers: Trailers) -> None:
    assert received(grpc.StatusCode.UNAVAILABLE, "Gone.", trailers).reason is Reason.SERVICE_UNAVAILABLE


def test_details_that_contradict_the_status_are_passed_over() -> None:
    trailers = status.trailers(ShoalError(Reason.SESSION_NOT_FOUND, "There is no session."))
    assert received(grpc.StatusCode.UNAVAILABLE, "Gone.", trailers).reason is Reason.SERVICE_UNAVAILABLE

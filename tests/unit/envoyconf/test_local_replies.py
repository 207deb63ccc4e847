"""Envoy's own errors over gRPC: they read as errors of our services do."""

import base64

import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from envoyconf.local_replies import BUSY, ERRORS, EnvoyError, as_grpc, rich_status
from meshkit import status
from meshkit.errors import Code, Reason, ShoalError


@pytest.mark.parametrize("error", ERRORS)
def test_the_details_are_those_of_our_own_error(error: EnvoyError) -> None:
    raised = ShoalError(Reason[error.reason], error.message, retry_after_seconds=error.retry_after_seconds)
    padded = rich_status(error) + "=" * (-len(rich_status(error)) % 4)
    told, ours = status_pb2.Status.FromString(base64.b64decode(padded)), status.to_status(raised)
    assert (told.message, list(told.details)) == (ours.message, list(ours.details))
    assert raised.code == Code[error.code]
    assert told.code == (code_pb2.RESOURCE_EXHAUSTED if raised.reason is Reason.REQUEST_TOO_LARGE else ours.code)


def test_a_reply_has_the_grpc_status_of_its_details() -> None:
    headers = {entry["header"]["key"]: entry["header"]["value"] for entry in as_grpc(BUSY)["headers_to_add"]}
    assert headers["grpc-status"] == str(code_pb2.UNAVAILABLE)
    assert headers["grpc-retry-pushback-ms"] == "1000"
    assert error_details_pb2.RetryInfo.DESCRIPTOR.full_name in base64.b64decode(
        headers["grpc-status-details-bin"] + "=="
    ).decode(errors="replace")

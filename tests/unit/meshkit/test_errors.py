"""The table of errors: complete, equal to the proto, and cut to what fits on the wire."""

import grpc
import pytest

from meshkit.errors import ERRORS, MESSAGE_MAX_CHARACTERS, Code, Reason, ShoalError, field_invalid, field_required
from shoal.errors.v1 import error_reason_pb2

PREFIX = "ERROR_REASON_"


def test_every_reason_has_a_row_and_every_row_a_reason() -> None:
    assert set(ERRORS) == set(Reason)


def test_the_reasons_are_those_of_the_proto() -> None:
    in_proto = set(error_reason_pb2.ErrorReason.keys()) - {f"{PREFIX}UNSPECIFIED"}
    assert in_proto == {PREFIX + reason for reason in Reason}


def test_the_codes_are_codes_of_grpc() -> None:
    assert {code.value for code in Code} <= {code.name for code in grpc.StatusCode}


@pytest.mark.parametrize(
    ("reason", "retryable"),
    [
        (Reason.RATE_LIMITED, True),
        (Reason.STATE_UNAVAILABLE, True),
        (Reason.MODEL_TIMEOUT, True),
        (Reason.FIELD_INVALID, False),
        (Reason.API_KEY_INVALID, False),
        (Reason.SESSION_DELETED, False),
        (Reason.INTERNAL, False),
    ],
)
def test_a_call_may_be_tried_again_only_where_there_is_hope(reason: Reason, retryable: bool) -> None:
    error = ShoalError(reason, "A sentence.")
    assert (error.code, error.retryable) == (ERRORS[reason], retryable)


def test_a_message_that_repeats_a_long_text_is_cut() -> None:
    error = ShoalError(Reason.MODEL_UNKNOWN, "x" * 100_000)
    assert error.message == "x" * (MESSAGE_MAX_CHARACTERS - 3) + "..."
    assert str(error) == error.message


def test_a_message_of_the_greatest_length_is_kept() -> None:
    assert ShoalError(Reason.INTERNAL, "x" * MESSAGE_MAX_CHARACTERS).message == "x" * MESSAGE_MAX_CHARACTERS


def test_a_field_at_fault_is_named_in_the_error_and_in_its_sentence() -> None:
    for error, reason in (
        (field_required("task"), Reason.FIELD_REQUIRED),
        (field_invalid("task", "be text"), Reason.FIELD_INVALID),
    ):
        assert (error.reason, error.field) == (reason, "task")
        assert "'task'" in error.message

"""The one table of errors: what can go wrong, its gRPC status, its reason and whether trying again can help."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Reason(StrEnum):
    """Why a call was refused or failed: the names of shoal.errors.v1.ErrorReason without their prefix."""

    INTERNAL = "INTERNAL"
    MALFORMED_REQUEST = "MALFORMED_REQUEST"
    FIELD_REQUIRED = "FIELD_REQUIRED"
    FIELD_INVALID = "FIELD_INVALID"
    FIELD_UNKNOWN = "FIELD_UNKNOWN"
    TASK_TOO_LONG = "TASK_TOO_LONG"
    REQUEST_TOO_LARGE = "REQUEST_TOO_LARGE"
    MODEL_UNKNOWN = "MODEL_UNKNOWN"
    IDENTITY_INVALID = "IDENTITY_INVALID"
    API_KEY_INVALID = "API_KEY_INVALID"
    API_KEY_AMBIGUOUS = "API_KEY_AMBIGUOUS"
    API_KEY_REQUIRED = "API_KEY_REQUIRED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    SESSION_NOT_FOUND = "SESSION_NOT_FOUND"
    SESSION_DELETED = "SESSION_DELETED"
    PREFERENCES_CONFLICT = "PREFERENCES_CONFLICT"
    API_KEY_NOT_FOUND = "API_KEY_NOT_FOUND"
    PATH_NOT_FOUND = "PATH_NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    RATE_LIMITED = "RATE_LIMITED"
    COST_ABOVE_CAPACITY = "COST_ABOVE_CAPACITY"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    STATE_UNAVAILABLE = "STATE_UNAVAILABLE"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    LIMITER_UNAVAILABLE = "LIMITER_UNAVAILABLE"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    MODEL_TIMEOUT = "MODEL_TIMEOUT"
    MODEL_REFUSED = "MODEL_REFUSED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"


class Code(StrEnum):
    """The gRPC status codes that Shoal answers with, by their canonical names."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ABORTED = "ABORTED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table."""

    code: Code
    retryable: bool
    """Whether the same call, sent again a little later, may succeed."""


ERRORS: Mapping[Reason, Row] = MappingProxyType(
    {
        Reason.INTERNAL: Row(Code.INTERNAL, retryable=False),
        Reason.MALFORMED_REQUEST: Row(Code.INVALID_ARGUMENT, retryable=False),
        Reason.FIELD_REQUIRED: Row(Code.INVALID_ARGUMENT, retryable=False),
        Reason.FIELD_INVALID: Row(Code.INVALID_ARGUMENT, retryable=False),
        Reason.FIELD_UNKNOWN: Row(Code.INVALID_ARGUMENT, retryable=False),
        Reason.TASK_TOO_LONG: Row(Code.INVALID_ARGUMENT, retryable=False),
        Reason.REQUEST_TOO_LARGE: Row(Code.INVALID_ARGUMENT, retryable=False),
        Reason.MODEL_UNKNOWN: Row(Code.INVALID_ARGUMENT, retryable=False),
        Reason.IDENTITY_INVALID: Row(Code.UNAUTHENTICATED, retryable=False),
        Reason.API_KEY_INVALID: Row(Code.UNAUTHENTICATED, retryable=False),
        Reason.API_KEY_AMBIGUOUS: Row(Code.UNAUTHENTICATED, retryable=False),
        Reason.API_KEY_REQUIRED: Row(Code.UNAUTHENTICATED, retryable=False),
        Reason.PERMISSION_DENIED: Row(Code.PERMISSION_DENIED, retryable=False),
        Reason.SESSION_NOT_FOUND: Row(Code.NOT_FOUND, retryable=False),
        Reason.SESSION_DELETED: Row(Code.ABORTED, retryable=False),
        Reason.PREFERENCES_CONFLICT: Row(Code.ABORTED, retryable=False),
        Reason.API_KEY_NOT_FOUND: Row(Code.NOT_FOUND, retryable=False),
        Reason.PATH_NOT_FOUND: Row(Code.NOT_FOUND, retryable=False),
        Reason.METHOD_NOT_ALLOWED: Row(Code.UNIMPLEMENTED, retryable=False),
        Reason.RATE_LIMITED: Row(Code.RESOURCE_EXHAUSTED, retryable=True),
        Reason.COST_ABOVE_CAPACITY: Row(Code.INVALID_ARGUMENT, retryable=False),
        Reason.SERVICE_UNAVAILABLE: Row(Code.UNAVAILABLE, retryable=True),
        Reason.STATE_UNAVAILABLE: Row(Code.UNAVAILABLE, retryable=True),
        Reason.DATABASE_UNAVAILABLE: Row(Code.UNAVAILABLE, retryable=True),
        Reason.LIMITER_UNAVAILABLE: Row(Code.UNAVAILABLE, retryable=True),
        Reason.MODEL_UNAVAILABLE: Row(Code.UNAVAILABLE, retryable=True),
        Reason.MODEL_TIMEOUT: Row(Code.DEADLINE_EXCEEDED, retryable=True),
        Reason.MODEL_REFUSED: Row(Code.INVALID_ARGUMENT, retryable=False),
        Reason.DEADLINE_EXCEEDED: Row(Code.DEADLINE_EXCEEDED, retryable=True),
    }
)


MESSAGE_MAX_CHARACTERS = 400
"""What repeats a caller's words could be of any length, and gRPC clients take about 8 KiB of trailers."""


class ShoalError(Exception):
    """A refusal or failure that the caller is told about.

    `message` is a sentence for a person that says what to do; it must hold nothing internal. A long one is cut.
    `field` is the request's field at fault, by its name in the proto and in JSON; empty if none is.
    `retry_after_seconds` is when the same call would succeed, if that is known.
    """

    def __init__(
        self, reason: Reason, message: str, *, field: str = "", retry_after_seconds: float | None = None
    ) -> None:
        if len(message) > MESSAGE_MAX_CHARACTERS:
            message = f"{message[: MESSAGE_MAX_CHARACTERS - 3]}..."
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.retry_after_seconds = retry_after_seconds

    @property
    def code(self) -> Code:
        return ERRORS[self.reason].code

    @property
    def retryable(self) -> bool:
        return ERRORS[self.reason].retryable


def field_required(field: str) -> ShoalError:
    return ShoalError(Reason.FIELD_REQUIRED, f"The field '{field}' is required.", field=field)


def field_invalid(field: str, expectation: str) -> ShoalError:
    """`expectation` completes the sentence "The field 'x' must ..."."""
    return ShoalError(Reason.FIELD_INVALID, f"The field '{field}' must {expectation}.", field=field)

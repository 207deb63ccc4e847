"""The one table of errors: what can go wrong, its reason, its gRPC status and whether trying again can help."""

from collections.abc import Mapping
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
    NOT_CACHED = "NOT_CACHED"
    RATE_LIMITED = "RATE_LIMITED"
    COST_ABOVE_CAPACITY = "COST_ABOVE_CAPACITY"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    STATE_UNAVAILABLE = "STATE_UNAVAILABLE"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    LIMITER_UNAVAILABLE = "LIMITER_UNAVAILABLE"
    REPLICA_BUSY = "REPLICA_BUSY"
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
    UNIMPLEMENTED = "UNIMPLEMENTED"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"


ERRORS: Mapping[Reason, Code] = MappingProxyType(
    {
        Reason.INTERNAL: Code.INTERNAL,
        Reason.MALFORMED_REQUEST: Code.INVALID_ARGUMENT,
        Reason.FIELD_REQUIRED: Code.INVALID_ARGUMENT,
        Reason.FIELD_INVALID: Code.INVALID_ARGUMENT,
        Reason.FIELD_UNKNOWN: Code.INVALID_ARGUMENT,
        Reason.TASK_TOO_LONG: Code.INVALID_ARGUMENT,
        Reason.REQUEST_TOO_LARGE: Code.INVALID_ARGUMENT,
        Reason.MODEL_UNKNOWN: Code.INVALID_ARGUMENT,
        Reason.IDENTITY_INVALID: Code.UNAUTHENTICATED,
        Reason.API_KEY_INVALID: Code.UNAUTHENTICATED,
        Reason.API_KEY_AMBIGUOUS: Code.UNAUTHENTICATED,
        Reason.API_KEY_REQUIRED: Code.UNAUTHENTICATED,
        Reason.PERMISSION_DENIED: Code.PERMISSION_DENIED,
        Reason.SESSION_NOT_FOUND: Code.NOT_FOUND,
        Reason.SESSION_DELETED: Code.ABORTED,
        Reason.PREFERENCES_CONFLICT: Code.ABORTED,
        Reason.API_KEY_NOT_FOUND: Code.NOT_FOUND,
        Reason.PATH_NOT_FOUND: Code.NOT_FOUND,
        Reason.METHOD_NOT_ALLOWED: Code.UNIMPLEMENTED,
        Reason.NOT_CACHED: Code.NOT_FOUND,
        Reason.RATE_LIMITED: Code.RESOURCE_EXHAUSTED,
        Reason.COST_ABOVE_CAPACITY: Code.INVALID_ARGUMENT,
        Reason.SERVICE_UNAVAILABLE: Code.UNAVAILABLE,
        Reason.STATE_UNAVAILABLE: Code.UNAVAILABLE,
        Reason.DATABASE_UNAVAILABLE: Code.UNAVAILABLE,
        Reason.LIMITER_UNAVAILABLE: Code.UNAVAILABLE,
        Reason.REPLICA_BUSY: Code.UNAVAILABLE,
        Reason.MODEL_UNAVAILABLE: Code.UNAVAILABLE,
        Reason.MODEL_TIMEOUT: Code.DEADLINE_EXCEEDED,
        Reason.MODEL_REFUSED: Code.INVALID_ARGUMENT,
        Reason.DEADLINE_EXCEEDED: Code.DEADLINE_EXCEEDED,
    }
)


RETRYABLE = frozenset({Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})
"""With these, the same call may succeed a little later."""

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
        return ERRORS[self.reason]

    @property
    def retryable(self) -> bool:
        """Whether the same call, sent again a little later, may succeed."""
        return self.code in RETRYABLE


def field_required(field: str) -> ShoalError:
    return ShoalError(Reason.FIELD_REQUIRED, f"The field '{field}' is required.", field=field)


def field_invalid(field: str, expectation: str) -> ShoalError:
    """`expectation` completes the sentence "The field 'x' must ..."."""
    return ShoalError(Reason.FIELD_INVALID, f"The field '{field}' must {expectation}.", field=field)


def internal() -> ShoalError:
    """A fault of ours, of which the caller is told no more; the log says the rest."""
    return ShoalError(Reason.INTERNAL, "Something went wrong on our side.")

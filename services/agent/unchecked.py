"""What a caller whom the limiter could not check must do without: what is private or costs money."""

from meshkit.errors import Reason, ShoalError
from meshkit.identity import Authentication, Identity


def require_checked(caller: Identity, purpose: str, *, field: str = "") -> None:
    """Raises ShoalError LIMITER_UNAVAILABLE for a caller whose key nobody looked at.

    `purpose` is what needs the limiter, `field` the request's field that asks for it.
    """
    if caller.authentication is Authentication.UNCHECKED:
        raise ShoalError(
            Reason.LIMITER_UNAVAILABLE,
            f"The limiter cannot be reached now, and without it there are no {purpose}; try again, or do without.",
            field=field,
        )

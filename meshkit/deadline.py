"""Deadlines: every call has one; each hop passes on what is left minus a margin and refuses what it cannot finish."""

import math

from meshkit.errors import Reason, ShoalError

MARGIN_SECONDS = 0.02
"""Kept back at each hop, so that the callee's error arrives before the caller gives up."""
FLOOR_SECONDS = 0.05
"""With less than this left, work is refused instead of begun."""


def accept(remaining_seconds: float | None, now: float, *, longest_seconds: float) -> float:
    """The point in time, on the clock of `now`, by which a call that arrives must be done.

    `remaining_seconds` is what the caller grants; None stands for the longest that any call may take. Raises ShoalError
    DEADLINE_EXCEEDED if that is too short to begin.
    """
    granted = longest_seconds if remaining_seconds is None else min(remaining_seconds, longest_seconds)
    if granted < FLOOR_SECONDS:
        raise ShoalError(Reason.DEADLINE_EXCEEDED, "Too little of the deadline is left to begin.")
    return now + granted


def onward(deadline: float, now: float, *, longest_seconds: float = math.inf) -> float:
    """The timeout in seconds for a call to the next hop. Raises ShoalError DEADLINE_EXCEEDED if nothing is left."""
    left = deadline - now - MARGIN_SECONDS
    if left <= 0:
        raise ShoalError(Reason.DEADLINE_EXCEEDED, "The deadline has passed.")
    return min(left, longest_seconds)

"""A small circuit breaker: a neighbour that is out is left alone for a while, then one call tries it."""

import math

LATE_IN_A_ROW = 3
"""So many answers in a row that come too late are an outage; one alone may be a machine that was busy for a moment."""


class Breaker:
    """Open while the neighbour is out. `now` is any steady clock in seconds, the same for all calls."""

    def __init__(self, *, pause_seconds: float) -> None:
        self._pause_seconds = pause_seconds
        self._retry_at: float | None = None
        self._late = 0
        self._late_at = -math.inf

    @property
    def is_open(self) -> bool:
        return self._retry_at is not None

    def allows(self, now: float) -> bool:
        """Whether to call now. After a pause one caller gets a yes, and the others only if nothing is heard of that
        call for another pause."""
        if self._retry_at is None:
            return True
        if now < self._retry_at:
            return False
        self._retry_at = now + self._pause_seconds
        return True

    def record_failure(self, now: float) -> None:
        self._retry_at = now + self._pause_seconds

    def record_late(self, now: float, *, began: float) -> None:
        """A failure only if it is one of several in a row. Calls that were under way together count once: a busy event
        loop makes them late together."""
        if began >= self._late_at:
            self._late += 1
            self._late_at = now
        if self._late >= LATE_IN_A_ROW:
            self.record_failure(now)

    def record_success(self) -> None:
        self._retry_at = None
        self._late = 0

"""A small circuit breaker: after a failure a neighbour is left alone for a while, then one call tries it."""


class Breaker:
    """`now` is any steady clock in seconds, the same for all calls."""

    def __init__(self, *, pause_seconds: float) -> None:
        self._pause_seconds = pause_seconds
        self._retry_at: float | None = None

    def allows(self, now: float) -> bool:
        """Whether to call now. After a pause one caller gets a yes, and the others only if nothing is heard of that
        call for another pause."""
        if self._retry_at is None:
            return True
        if now < self._retry_at:
            return False
        self._retry_at = now + self._pause_seconds
        return True

    def record_failure(self, now: float) -> bool:
        """True if this failure is the first after success."""
        first = self._retry_at is None
        self._retry_at = now + self._pause_seconds
        return first

    def record_success(self) -> bool:
        """True if this success is the first after failure."""
        first = self._retry_at is not None
        self._retry_at = None
        return first

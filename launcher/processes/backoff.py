"""How long to wait before a process that died is started again."""

FIRST_SECONDS = 0.2
LONGEST_SECONDS = 10.0
STEADY_SECONDS = 30.0
"""Who lived this long starts over with the first delay."""


class Backoff:
    """Exponential delays of one process, from 0.2 s doubling to 10 s."""

    def __init__(self) -> None:
        self._next = FIRST_SECONDS

    def after(self, lived_seconds: float) -> float:
        """The delay in seconds after a life of that length."""
        if lived_seconds >= STEADY_SECONDS:
            self._next = FIRST_SECONDS
        delay = self._next
        self._next = min(2 * delay, LONGEST_SECONDS)
        return delay

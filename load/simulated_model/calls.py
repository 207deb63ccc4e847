"""The count of calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Calls:
    """Each call that began is waiting for a slot, running in one (concurrent), completed or cancelled by its client."""

    begun: int = 0
    completed: int = 0
    cancelled: int = 0
    concurrent: int = 0
    max_concurrent: int = 0
    last_request: bytes | None = None
    """The body of the last well-formed request."""

    @property
    def waiting(self) -> int:
        return self.begun - self.completed - self.cancelled - self.concurrent

    @contextmanager
    def running(self) -> Iterator[None]:
        """A call has a slot."""
        self.concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self.concurrent)
        try:
            yield
        finally:
            self.concurrent -= 1

    def reset(self) -> None:
        """Forget all calls but those that have not ended."""
        self.begun = self.waiting + self.concurrent
        self.completed = self.cancelled = 0
        self.max_concurrent = self.concurrent
        self.last_request = None

    def counts(self) -> dict[str, int]:
        return {
            "begun": self.begun,
            "completed": self.completed,
            "cancelled": self.cancelled,
            "waiting": self.waiting,
            "concurrent": self.concurrent,
            "max_concurrent": self.max_concurrent,
        }

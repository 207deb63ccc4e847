"""The circuit breaker between a limiter and the buckets that it shares with others."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.ratelimit.buckets.bucket_store import BucketsUnreachableError
from services.ratelimit.patience import in_time

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 0.035
"""How long the shared buckets may take, apart from the lateness of our own event loop."""
LATE_IN_A_ROW = 3
"""So many answers in a row that come too late are an outage; one alone may be a machine that was busy for a moment."""


class CircuitBreaker:
    """Opens at the first failure, or when several answers in a row are late. It stays open until it is closed."""

    def __init__(self, *, opened: Callable[[BaseException | None], None], closed: Callable[[], None]) -> None:
        """Both are told each change once; `opened` with what was the matter."""
        self._opened = opened
        self._closed = closed
        self._late = 0
        self.is_open = False

    async def answer(self, call: Awaitable[Answer]) -> Answer:
        """What the call returns. Raises BucketsUnreachableError, also when it does not return in time."""
        try:
            answer = await in_time(call, seconds=PATIENCE_SECONDS)
        except TimeoutError as error:
            self._late += 1
            if self._late >= LATE_IN_A_ROW:
                self._open(error)
            raise BucketsUnreachableError("no answer in time") from error
        except BucketsUnreachableError as error:
            self._open(error.__cause__)
            raise
        self._late = 0
        return answer

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._closed()

    def _open(self, cause: BaseException | None) -> None:
        if not self.is_open:
            self.is_open = True
            self._opened(cause)

"""A bound on how long a caller may leave a message of its stream unread."""

import asyncio
from types import TracebackType
from typing import Self

from meshkit.errors import Reason, ShoalError


class SlowReader:
    """Ends the task that writes a stream when one message is not taken in time.

        with SlowReader(30) as reader:
            reader.is_given()
            await context.write(message)
            reader.has_taken()

    A timeout around each write would cost 4 microseconds a message, and this costs 0.2: there is one timer for the
    stream, which looks when the message that waits then would be late.
    """

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._since: float | None = None
        self._is_late = False

    def __enter__(self) -> Self:
        """Raises RuntimeError outside of a task."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("there is no task to end")
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = self._loop.call_later(self._patience_seconds, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raises ShoalError DEADLINE_EXCEEDED if a message was late."""
        self._timer.cancel()
        others_cancel = self._is_late and self._task.uncancel() > self._cancelling
        if self._is_late and not others_cancel and isinstance(error, asyncio.CancelledError):
            text = f"The call was ended: its answer was not read for {self._patience_seconds:g} seconds."
            raise ShoalError(Reason.DEADLINE_EXCEEDED, text) from None

    def is_given(self) -> None:
        """A message waits for the caller from now on."""
        self._since = self._now()

    def has_taken(self) -> None:
        """The message is on its way."""
        self._since = None

    def _look(self) -> None:
        due = (self._since or self._now()) + self._patience_seconds
        if due <= self._now():
            self._is_late = True
            self._task.cancel()
        else:
            self._timer = self._loop.call_at(due, self._look)

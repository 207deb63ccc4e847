"""Tells the log once that something this service needs is gone, and once that it is back."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from meshkit.errors import Code, ShoalError

log = structlog.get_logger()


class OutageLog:
    """The state of one thing that is needed. `setting` is the variable that says where it is, `meanwhile` what is done
    without it."""

    def __init__(self, needed: str, *, setting: str, meanwhile: str = "calls that need it fail") -> None:
        self._needed = needed
        self._setting = setting
        self._meanwhile = meanwhile
        self._gone_since: float | None = None

    def gone(self, cause: BaseException | None) -> None:
        if self._gone_since is not None:
            return
        self._gone_since = time.monotonic()
        log.warning(
            "cannot be used: check that it runs, and its setting",
            needed=self._needed,
            setting=self._setting,
            meanwhile=self._meanwhile,
            cause=type(cause).__name__,
        )

    def back(self) -> None:
        if self._gone_since is not None:
            seconds = round(time.monotonic() - self._gone_since, 3)
            self._gone_since = None
            log.info("can be used again", needed=self._needed, gone_seconds=seconds)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Around each use: a ShoalError with code UNAVAILABLE means that it is gone. Errors pass on."""
        try:
            yield
        except ShoalError as error:
            if error.code is Code.UNAVAILABLE:
                self.gone(error.__cause__)
            raise
        self.back()

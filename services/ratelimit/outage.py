"""Tells the log once that something this service needs is gone, and once that it is back."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from meshkit.errors import Code, ShoalError

log = structlog.get_logger()


class OutageLog:
    """The state of one thing that is needed. `setting` is the variable that says where it is."""

    def __init__(self, needed: str, *, setting: str) -> None:
        self._needed = needed
        self._setting = setting
        self._gone = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Around each use: a ShoalError with code UNAVAILABLE means that it is gone. Errors pass on."""
        try:
            yield
        except ShoalError as error:
            if error.code is Code.UNAVAILABLE and not self._gone:
                self._gone = True
                log.warning(
                    "cannot be used: check that it runs, and its setting",
                    needed=self._needed,
                    setting=self._setting,
                    cause=type(error.__cause__).__name__,
                )
            raise
        if self._gone:
            self._gone = False
            log.info("can be used again", needed=self._needed)

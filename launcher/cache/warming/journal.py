"""The journal of a run: which lines are finished, so that the next run goes on after them."""

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO


class JournalError(Exception):
    """The journal cannot be used. The message says what to do."""


class Journal:
    """A text file with a line for each finished task: its digest, and the Unix time until which it counts as finished.

    A line that a crash cut off counts for nothing.
    """

    def __init__(self, file: TextIO, *, clock: Callable[[], float]) -> None:
        self._file = file
        self._clock = clock
        self._finished = dict(_entries(file))

    def holds(self, digest: str) -> bool:
        return self._clock() < self._finished.get(digest, 0.0)

    def add(self, digest: str, *, for_seconds: float) -> None:
        """The task is finished, and not to be sent again for so long. Raises JournalError."""
        until = self._clock() + for_seconds
        self._finished[digest] = until
        try:
            self._file.write(f"{digest} {until:.0f}\n")
            self._file.flush()
        except OSError as error:
            raise JournalError(
                f"The journal cannot be written any further ({error.strerror}); make room for it, or copy the tasks to "
                "a folder that has some."
            ) from None


@contextlib.contextmanager
def open_journal(path: Path, *, restart: bool, clock: Callable[[], float] = time.time) -> Iterator[Journal]:
    """The journal at that place, for one run at a time; `restart` empties it. Raises JournalError."""
    try:
        file = path.open("a+", encoding="ascii", errors="replace")
    except OSError as error:
        raise JournalError(
            f"The journal {path} cannot be written ({error.strerror}); copy the tasks to a folder that can be."
        ) from None
    with _closing(file):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(f"Another run uses the journal {path}; wait for its end, or stop it.") from None
        if restart:
            file.truncate(0)
        yield Journal(file, clock=clock)


@contextlib.contextmanager
def _closing(file: TextIO) -> Iterator[None]:
    """Closes the file in the end. What cannot be written then could not be written before, and `add` has said so."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.close()


def _entries(file: TextIO) -> Iterator[tuple[str, float]]:
    """Leaves the file at its end, at the beginning of a line."""
    file.seek(0)
    text = file.read()
    if text and not text.endswith("\n"):
        file.write("\n")
    for line in text.splitlines():
        digest, _, until = line.partition(" ")
        with contextlib.suppress(ValueError):
            yield digest, float(until)

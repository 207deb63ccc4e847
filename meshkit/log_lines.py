"""Lines of the log on their way to standard output."""

import asyncio
import atexit
from collections.abc import Callable, Sequence
from threading import RLock
from typing import Generic, TextIO, TypeVar

GATHERING_SECONDS = 0.005


T = TypeVar("T")


class LogLines(Generic[T]):
    """Writes lines in their order: warnings and worse at once, others together with what follows in a few milliseconds.

    Each write is a system call during which other threads take their turn, which costs a busy process more than the
    line itself, and lines that are rendered in a row cost a fraction of lines between other work. What has been told is
    written before the process ends, unless it is killed.

    Lines that cannot be written, as on a full disk, are dropped and counted: no call fails for want of a log.

    Any thread may tell lines; one without an event loop writes at once. What is told must not be changed afterwards.
    """

    def __init__(self, stream: TextIO, *, render: Callable[[Sequence[T]], str]) -> None:
        """`render` makes a line, with its end, of each thing that was told. It must never fail."""
        self.dropped = 0
        """Lines whose write failed. What of them the stream has kept may still come with later ones."""
        self._stream = stream
        self._render = render
        self._gathered: list[T] = []
        self._writer: asyncio.AbstractEventLoop | None = None
        """The loop that will write them."""
        # Reentrant, since a destructor may have something to tell in the middle of a write.
        self._lock = RLock()
        atexit.register(self._write)

    def gather(self, line: T) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # Nobody would come back to it.
            self.write(line)
            return
        with self._lock:
            self._gathered.append(line)
            comes_back, self._writer = self._writer is loop, loop
        if not comes_back:
            loop.call_later(GATHERING_SECONDS, self._write)

    def write(self, line: T) -> None:
        with self._lock:
            self._gathered.append(line)
            self._write()

    debug = info = gather
    warning = error = critical = write
    """What structlog calls, by the level of the line. Its other methods end in these."""

    def _write(self) -> None:
        with self._lock:
            lines, self._gathered, self._writer = self._gathered, [], None
            if not lines:
                return
            text = self._render(lines)
            try:
                self._stream.write(text)
                self._stream.flush()
            except OSError:
                self.dropped += len(lines)

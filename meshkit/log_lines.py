"""Lines of the log on their way to standard output."""

import asyncio
import atexit
from typing import TextIO

GATHERING_SECONDS = 0.005


class LogLines:
    """Writes lines in their order: warnings and worse at once, others together with what follows in a few milliseconds.

    Each write is a system call during which other threads take their turn, which costs a busy process more than the
    line itself. What has been told is written before the process ends, unless it is killed.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gathered: list[str] = []
        atexit.register(self._write)

    def gather(self, line: str) -> None:
        self._gathered.append(line)
        if len(self._gathered) > 1:
            return
        try:
            asyncio.get_running_loop().call_later(GATHERING_SECONDS, self._write)
        except RuntimeError:
            # Nobody would come back to it.
            self._write()

    def write(self, line: str) -> None:
        self._gathered.append(line)
        self._write()

    debug = info = msg = gather
    warning = warn = error = exception = critical = fatal = failure = log = write
    """What structlog calls, by the level of the line."""

    def _write(self) -> None:
        lines, self._gathered = self._gathered, []
        if lines:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()

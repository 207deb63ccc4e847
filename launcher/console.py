"""What the launcher says on the terminal: one plain line at a time, with colour where there is somebody to see it."""

import contextlib
import sys
from collections.abc import Sequence
from typing import TextIO

_GREEN, _RED, _FAINT, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"


class Console:
    """Writes lines to a stream. That nobody reads them any more is no reason to stop."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._coloured = stream.isatty()

    def say(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            print(text, file=self._stream, flush=True)

    def progress(self, name: str, news: str) -> None:
        self.say(f"  {name:<14} {self._in(_GREEN, news)}")

    def trouble(self, name: str, news: str, details: Sequence[str] = ()) -> None:
        self.say(f"  {name:<14} {self._in(_RED, news)}")
        for line in details:
            self.say(self._in(_FAINT, f"    | {line}"))

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._coloured else text

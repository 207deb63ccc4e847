"""How far a run is, on standard error: a bar for a person, a line at each tenth for a log."""

import contextlib
import sys
from collections.abc import Callable, Iterator

import click

_PARTS = 10


@contextlib.contextmanager
def progress(lines: int) -> Iterator[Callable[[], None]]:
    """Yields what is to be called after each of so many lines."""
    if sys.stderr.isatty():
        with click.progressbar(length=lines, label="Warming", show_pos=True, file=sys.stderr) as bar:
            yield lambda: bar.update(1)
    else:
        yield _Lines(lines).step


class _Lines:
    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._done = 0

    def step(self) -> None:
        self._done += 1
        if self._done * _PARTS // self._lines > (self._done - 1) * _PARTS // self._lines:
            click.echo(f"warmed {self._done:,} of {self._lines:,} lines", err=True)

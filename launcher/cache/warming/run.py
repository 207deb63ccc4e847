"""`shoal cache warm`: puts a run together, stops it in order on a signal, and reports."""

import asyncio
import contextlib
import hashlib
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from launcher.cache.warming.front_door import open_front_door
from launcher.cache.warming.journal import open_journal
from launcher.cache.warming.progress import progress
from launcher.cache.warming.report import Report
from launcher.cache.warming.tasks import Wishes, count_lines, read_tasks
from launcher.cache.warming.warmer import Warmer

JOURNAL_SUFFIX = ".warmed"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done."""

    file: Path
    url: str
    api_key: str
    cert_file: str
    """A certificate to trust besides those that the system trusts; empty for none."""
    wishes: Wishes
    at_once: int
    restart: bool

    @property
    def journal_path(self) -> Path:
        return self.file.with_name(self.file.name + JOURNAL_SUFFIX)

    @property
    def destination(self) -> str:
        """Other addresses and other keys have answers of their own. The key cannot be told from it."""
        return f"{self.url} {hashlib.sha256(self.api_key.encode()).hexdigest()}"


async def warm(order: Order) -> bool:
    """Carries it out, and reports on standard output. Returns whether no line is left and none failed.

    The journal stays until a run comes to that. Raises JournalError if it cannot be opened, NoAnswerError if there is
    no front door, and OSError if the file cannot be read.
    """
    async with open_front_door(order.url, api_key=order.api_key, cert_file=order.cert_file) as door:
        await door.check()
        with (
            order.file.open("rb") as file,
            open_journal(order.journal_path, restart=order.restart) as journal,
        ):
            lines, began = count_lines(file), time.monotonic()
            stop = asyncio.Event()
            with progress(lines) as on_line:
                report = Report(on_line)
                warmer = Warmer(door, destination=order.destination, journal=journal, report=report, stop=stop)
                tasks = read_tasks(file, order.wishes)
                await _until_stopped(warmer.run(tasks, at_once=order.at_once), report, stop)
            click.echo(report.text(lines=lines, seconds=time.monotonic() - began))
            if report.is_complete:
                order.journal_path.unlink()
            return report.is_complete


async def _until_stopped(work: Coroutine[None, None, None], report: Report, stop: asyncio.Event) -> None:
    """Does the work. The first signal stops it in order, one more cuts off what is in flight."""
    run = asyncio.create_task(work)

    def on_signal() -> None:
        if stop.is_set():
            run.cancel()
        else:
            report.ended_early("It was told to stop.")
            click.echo("\nStopping as soon as what was sent is answered; once more cuts it off ...", err=True)
            stop.set()

    with _on_signals(on_signal):
        await asyncio.wait({run})
    if not run.cancelled():
        run.result()


@contextlib.contextmanager
def _on_signals(handler: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

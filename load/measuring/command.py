"""Commands that measure in parts and print tables."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence

import click

from load.measuring.generator import MeasurementError
from load.measuring.home import StartError
from load.measuring.progress import say
from load.measuring.report import provenance

_STOPPED = 130

Part = Callable[[], Awaitable[Sequence[str]]]
"""Measures, and tells it as paragraphs of Markdown."""


def run(parts: Mapping[str, Part]) -> None:
    """Measures the parts one after the other. Exits with 130 when it is told to stop, after ending what it started.

    Raises ClickException if something could not be measured.
    """
    try:
        asyncio.run(_measure(parts))
    except (MeasurementError, StartError, TimeoutError) as error:
        raise click.ClickException(str(error)) from None
    except asyncio.CancelledError:
        sys.exit(_STOPPED)


async def _measure(parts: Mapping[str, Part]) -> None:
    if measuring := asyncio.current_task():
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, measuring.cancel)
    print(provenance())
    for name, part in parts.items():
        say(f"{name} ...")
        for paragraph in await part():
            print(f"\n{paragraph}", flush=True)

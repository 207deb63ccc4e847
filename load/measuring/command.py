"""Commands that measure in parts and print tables."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence

import aiohttp
import click
import grpc
from redis.exceptions import RedisError

from launcher.operator import OperatorError
from launcher.processes.binaries import MissingBinaryError
from load.measuring.generator import MeasurementError
from load.measuring.home import StartError
from load.measuring.progress import say
from load.measuring.report import provenance

_STOPPED = 130
_FAILURES = (
    MeasurementError,
    StartError,
    MissingBinaryError,
    OperatorError,
    grpc.aio.AioRpcError,
    aiohttp.ClientError,
    RedisError,
    OSError,
)
"""Of what is measured and of what that takes; anything else is a fault of ours. Time that is over is an OSError."""

Part = Callable[[], Awaitable[Sequence[str]]]
"""Measures, and tells it as paragraphs of Markdown."""


def run(parts: Mapping[str, Part]) -> None:
    """Measures the parts one after the other. Exits with 130 when it is told to stop, after ending what it started.

    Raises ClickException if something could not be measured.
    """
    try:
        asyncio.run(_measure(parts))
    except asyncio.CancelledError:
        sys.exit(_STOPPED)
    except Exception as error:
        failure = _first(error)
        if not isinstance(failure, _FAILURES):
            raise
        raise click.ClickException(_sentence(failure)) from None


def _first(error: Exception) -> Exception:
    """Of the failures of a TaskGroup the one that ended it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _sentence(failure: Exception) -> str:
    if isinstance(failure, grpc.aio.AioRpcError):
        return f"a call failed with {failure.code().name}: {failure.details()}"
    return str(failure) or type(failure).__name__


async def _measure(parts: Mapping[str, Part]) -> None:
    if measuring := asyncio.current_task():
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, measuring.cancel)
    print(provenance())
    for name, part in parts.items():
        say(f"{name} ...")
        for paragraph in await part():
            print(f"\n{paragraph}", flush=True)

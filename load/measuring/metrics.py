"""What a process says of itself on its metrics port."""

import asyncio
import urllib.request
from collections.abc import Sequence

from load.measuring.generator import MeasurementError


async def read(port: int, *names: str) -> Sequence[float]:
    """The samples of these names, with labels if they have any. Raises MeasurementError for one that is not there, and
    OSError if nobody answers."""
    return samples_in(await asyncio.to_thread(_text, port), *names)


def samples_in(text: str, *names: str) -> Sequence[float]:
    """The same, of what was read. Raises MeasurementError."""
    samples = {name: value for name, _, value in (line.rpartition(" ") for line in text.splitlines())}
    if missing := [name for name in names if name not in samples]:
        raise MeasurementError(f"a measured process has no metric {', '.join(missing)}")
    return [float(samples[name]) for name in names]


def _text(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        return str(response.read().decode())

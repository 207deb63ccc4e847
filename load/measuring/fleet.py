"""Changes of a running mesh while it is measured, and its processes, as `shoal scale`, `restart` and `ps` have them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from launcher.control.client import ControlError, change, processes
from launcher.control.fleet import ProcessRow
from launcher.control.messages import Restart, Scale
from launcher.home import Home as MeshHome
from load.measuring.generator import MeasurementError
from load.measuring.home import Home
from load.measuring.waiting import until

_START_SECONDS = 30.0
_MOST_SECONDS = 180.0

Answer = TypeVar("Answer")


async def all_ready(home: Home) -> None:
    """Returns when every process is ready: before that the mesh can be used but not changed. Raises TimeoutError."""

    async def are_ready() -> bool:
        return all(row.state == "ready" for row in await listed(home))

    await until("a mesh whose processes are all ready", are_ready, seconds=_START_SECONDS)


async def scale(home: Home, service: str, replicas: int) -> None:
    """Returns when new replicas take calls and those that leave have ended. Raises MeasurementError."""
    await _asked(lambda: change(_of(home), Scale(service=service, replicas=replicas), _nobody))


async def restart(home: Home, service: str) -> None:
    """Replaces every process of the service, one at a time. Raises MeasurementError."""
    await _asked(lambda: change(_of(home), Restart(service=service), _nobody))


async def listed(home: Home) -> Sequence[ProcessRow]:
    """Every process of the mesh. Raises MeasurementError."""
    return await _asked(lambda: processes(_of(home)))


async def _asked(ask: Callable[[], Answer]) -> Answer:
    """In a thread, for the mesh's client waits. Raises MeasurementError."""
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            return await asyncio.to_thread(ask)
    except TimeoutError:
        raise MeasurementError(f"the mesh did not do what it was told within {_MOST_SECONDS:.0f} s") from None
    except ControlError as error:
        raise MeasurementError(str(error)) from None


def _of(home: Home) -> MeshHome:
    return MeshHome.at(str(home.folder))


def _nobody(_: str) -> None:
    """Is told of the progress."""

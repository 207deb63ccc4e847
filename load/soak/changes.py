"""What is done to a mesh while it is used: services are restarted in turn, and now and then an agent is killed."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Sequence

from load.measuring import fleet
from load.measuring.generator import MeasurementError
from load.measuring.home import Home
from load.measuring.progress import say
from load.soak.record import Change
from load.soak.tally import Tally

_KILL = "kill -9 of an agent"
IN_TURN: Sequence[str] = ("agent", "gateway", _KILL, "cache", "ratelimit", _KILL, "envoy")


async def go_on(home: Home, tally: Tally, *, seconds: float, changes: list[Change]) -> None:
    """All of them in turn, evenly over so many seconds; whatever there is time for is done. Notes them in `changes`."""
    pause = seconds / (len(IN_TURN) + 1)
    for number, what in enumerate(IN_TURN, start=1):
        await asyncio.sleep(max(0.0, tally.began + number * pause - time.monotonic()))
        if time.monotonic() > tally.began + seconds:
            return
        began = time.monotonic() - tally.began
        say(f"soak: minute {began / 60:.1f}: {what}")
        error = await _done(home, tally, what)
        changes.append(Change(began, time.monotonic() - tally.began, what, error))


async def _done(home: Home, tally: Tally, what: str) -> str:
    """Why not; empty if it is done."""
    try:
        await (_kill(home, tally) if what == _KILL else fleet.restart(home, what))
    except MeasurementError as error:
        return str(error)
    return ""


async def _kill(home: Home, tally: Tally) -> None:
    """Raises MeasurementError if there is no agent."""
    agents = [row.pid for row in await fleet.listed(home) if row.service == "agent" and row.pid]
    if not agents:
        raise MeasurementError("there is no agent that could be killed")
    tally.killed(time.monotonic())
    os.kill(random.choice(agents), signal.SIGKILL)

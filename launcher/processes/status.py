"""What a running process tells of itself, and what the system tells of it."""

import asyncio
import os
from pathlib import Path

import msgspec

from launcher.local_http import get

_ANSWER_SECONDS = 1.0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The load of a service's process."""

    ready: bool
    draining: bool
    running: int
    """Calls in progress."""
    waiting: int
    """Calls that wait for a slot."""
    slots: int | None
    """How many it works on at once; None if that has no bound."""


async def status_of(metrics_port: int) -> Status | None:
    """What a process says on its metrics port; None if it does not answer within a second."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            answer = await get(metrics_port, "/status")
            return msgspec.json.decode(answer.body, type=Status) if answer.status == 200 else None
    except (OSError, EOFError, TimeoutError, msgspec.DecodeError):
        return None


def memory_of(pid: int) -> int | None:
    """The resident memory of a process in bytes; None where the system does not show it in /proc."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")

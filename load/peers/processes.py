"""Processes with their descendants: what memory they take together, and that they are gone in the end."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

_GONE_SECONDS = 5.0
_MEGABYTE = 2**20


class Memory(msgspec.Struct, frozen=True):
    """Of a process and its descendants, in MB."""

    processes: int
    rss: float
    """Pages that they share count for each."""
    pss: float
    """Pages that they share count once."""
    python_pss: float
    """Of those that are Python."""


def tree(pid: int) -> list[psutil.Process]:
    """The process and its descendants; none if it is gone."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def memory(pid: int) -> Memory:
    """Now. Those that end meanwhile do not count."""
    taken = []
    for process in tree(pid):
        with suppress(psutil.NoSuchProcess):
            is_python = Path(process.exe()).name.startswith("python")
            taken.append((is_python, process.memory_full_info()))
    return Memory(
        len(taken),
        sum(each.rss for _, each in taken) / _MEGABYTE,
        sum(each.pss for _, each in taken) / _MEGABYTE,
        sum(each.pss for is_python, each in taken if is_python) / _MEGABYTE,
    )


async def ended(processes: Sequence[psutil.Process]) -> None:
    """Returns when they are gone; kills those that are still there after 5 s."""
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, _GONE_SECONDS)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()

"""What the processes of a mesh hold, as the system shows it. Linux only."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from launcher.control.fleet import ProcessRow
from load.measuring.memory import pss_bytes
from load.soak.record import ProcessSample

LAUNCHER = "launcher"
_PROC = Path("/proc")
_GONE = (FileNotFoundError, ProcessLookupError, StopIteration)
"""What looking at a process that has just ended comes to; one that nobody has waited for yet has empty files."""


def sampled(rows: Sequence[ProcessRow]) -> list[ProcessSample]:
    """Every one of these processes that still runs, and the launcher that started them."""
    named = [(row.name, row.service, row.pid) for row in rows if row.pid]
    launchers = {(LAUNCHER, LAUNCHER, parent) for _, _, pid in named for parent in _parent(pid)}
    found = []
    for name, service, pid in [*sorted(launchers), *named]:
        with suppress(*_GONE):
            found.append(_sample(name, service, pid))
    return found


def _sample(name: str, service: str, pid: int) -> ProcessSample:
    """Raises FileNotFoundError or ProcessLookupError if it is gone."""
    folder, fields = _PROC / str(pid), _fields(pid)
    rss = int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    descriptors = sum(1 for _ in (folder / "fd").iterdir())
    cpu_seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return ProcessSample(name, service, pid, rss, pss_bytes(pid), descriptors, cpu_seconds)


def _parent(pid: int) -> Iterator[int]:
    """Nobody if the process is gone."""
    with suppress(*_GONE):
        yield int(_fields(pid)[1])


def _fields(pid: int) -> list[str]:
    """Of /proc/PID/stat, from the state on: the name before it may hold anything."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()

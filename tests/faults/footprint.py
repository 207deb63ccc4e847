"""What the processes of a mesh hold: files and memory."""

from pathlib import Path

import psutil

from tests.mesh import Mesh

MIB = 1024 * 1024


def ours(mesh: Mesh) -> dict[str, int]:
    """The processes that a request goes through, by name, with their ids."""
    return {name: pid for name, pid in mesh.pids().items() if not name.startswith(("valkey", "model"))}


def open_files(mesh: Mesh) -> dict[str, int]:
    """File descriptors, connections among them."""
    return {name: psutil.Process(pid).num_fds() for name, pid in ours(mesh).items()}


def memory(mesh: Mesh) -> dict[str, int]:
    """Resident bytes."""
    return {name: psutil.Process(pid).memory_info().rss for name, pid in ours(mesh).items()}


class Peaks:
    """The most memory that each process held at any moment from here on, as the kernel keeps it."""

    def __init__(self, mesh: Mesh) -> None:
        self._pids = ours(mesh)
        for pid in self._pids.values():
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._before = self._highest()

    def growth(self) -> dict[str, int]:
        """In bytes, above what the process held at the beginning."""
        return {name: highest - self._before[name] for name, highest in self._highest().items()}

    def _highest(self) -> dict[str, int]:
        return {name: _high_water_mark(pid) for name, pid in self._pids.items()}


def _high_water_mark(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024

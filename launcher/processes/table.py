"""The file that tells tools which processes of the mesh run now."""

import json
from pathlib import Path

from launcher.home import write_private
from launcher.processes.plan import Process


class ProcessTable:
    """A JSON list of {"name", "pid", "port", "metrics_port", ...}: the ports by the names of their settings."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, dict[str, str | int]] = {}

    def enter(self, process: Process, pid: int) -> None:
        self._rows[process.name] = {"name": process.name, "pid": pid, **process.ports}
        self._write()

    def leave(self, process: Process) -> None:
        self._rows.pop(process.name, None)
        self._write()

    def remove(self) -> None:
        """Nothing runs any more."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        write_private(self._path, json.dumps(list(self._rows.values()), indent=1))

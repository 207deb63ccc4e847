"""A real mesh for tests: `shoal up` as a process, with a home and ports of its own."""

import asyncio
import json
import os
import random
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from envoyconf.topology import Topology
from launcher.check import is_busy
from launcher.processes import binaries
from services.ratelimit import keys
from tests.backends import wait_until

START_SECONDS = 120
COMMAND_SECONDS = 120
STOP_SECONDS = 15
_ATTEMPTS = 5


@dataclass
class Mesh:
    """A running `shoal up`."""

    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    """Its SHOAL_* variables, for commands that are to reach it."""
    output_file: Path

    @property
    def home(self) -> Path:
        return Path(self.environment["SHOAL_HOME"])

    @property
    def url(self) -> str:
        return f"http://{self.grpc_target}"

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self._row('envoy')['front_port']}"

    @property
    def tls_port(self) -> int:
        return int(self._row("envoy")["tls_port"])

    @property
    def inner_port(self) -> int:
        return int(self._row("envoy")["inner_port"])

    @property
    def admin_port(self) -> int:
        return int(self._row("envoy")["admin_port"])

    @property
    def api_key(self) -> str:
        """The demo key, tier premium."""
        return (self.home / "demo-api-key").read_text().strip()

    @property
    def is_ready(self) -> bool:
        return "Ctrl-C stops everything" in self.output()

    def output(self) -> str:
        """What it has said so far."""
        return self.output_file.read_text()

    def logs(self) -> list[Path]:
        """One file for each process that was started."""
        return sorted((self.home / "logs").glob("*.log"))

    def pids(self) -> dict[str, int]:
        """Of the processes that run now, by their names."""
        return {row["name"]: row["pid"] for row in self._rows()}

    def pid(self, process: str) -> int:
        return int(self._row(process)["pid"])

    def port(self, process: str) -> int:
        return int(self._row(process)["port"])

    def envoy_port(self, process: str) -> int:
        """Where Envoy calls it."""
        return int(self._row(process)["http1_port"])

    def metrics_port(self, process: str) -> int:
        return int(self._row(process)["metrics_port"])

    def shoal(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Runs a `shoal` command against this mesh. Fails if it does, unless `check` is off."""
        command = [str(binaries.shoal()), *arguments]
        done = subprocess.run(command, env=_told(self.environment), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 or not check, done.stderr
        return done

    async def shoal_meanwhile(self, *arguments: str) -> str:
        """Runs a `shoal` command that may take long, while the event loop goes on. Returns what it said; fails if it
        does."""
        process = await asyncio.create_subprocess_exec(
            binaries.shoal(),
            *arguments,
            env=_told(self.environment),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(COMMAND_SECONDS):
            said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        return said.decode()

    def create_key(self, *, tenant: str, tier: str) -> str:
        return self.shoal("keys", "create", "--tenant", tenant, "--tier", tier).stdout.strip()

    def key_id(self, secret: str) -> str:
        return keys.id_of(secret)

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    @contextmanager
    def stopped(self, *processes: str) -> Iterator[None]:
        """The processes are there and do nothing."""
        pids = [self.pid(process) for process in processes]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        """Stops it in order. Fails unless it ends well and leaves no process."""
        started = self.descendants()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOP_SECONDS) == 0, self.output()
        assert not [process for process in started if process.is_running()], self.output()

    def _row(self, process: str) -> dict[str, Any]:
        return next(row for row in self._rows() if row["name"] == process)

    def _rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads((self.home / "processes.json").read_text())
        return rows


@contextmanager
def running_mesh(home: Path | None = None, *, options: Sequence[str] = (), **variables: str) -> Iterator[Mesh]:
    """Starts a mesh with these variables in its environment, and yields it when it is ready; without `home`, in a fresh
    one. `options` are those of `shoal up`.

    In the end it is stopped in order, unless the test has ended it itself.
    """
    with tempfile.TemporaryDirectory(prefix="shoal-") as folder:
        mesh = _ready_mesh(home or Path(folder) / "home", Path(folder), options, variables)
        try:
            yield mesh
        finally:
            if mesh.process.poll() is None:
                mesh.stop()


def _ready_mesh(home: Path, folder: Path, options: Sequence[str], variables: dict[str, str]) -> Mesh:
    for attempt in range(_ATTEMPTS):
        shift = {"SHOAL_HOME": str(home), "SHOAL_PORT_SHIFT": str(free_shift())}
        mesh = _launched(options, shift | variables, folder / f"output-{attempt}")
        _wait_until_ready_or_gone(mesh)
        if mesh.is_ready:
            return mesh
        # Between our look and its own, another program may have taken a port.
        assert "is in use" in mesh.output(), mesh.output()
    raise AssertionError("no ports stay free for long enough to start a mesh")


def _launched(options: Sequence[str], environment: dict[str, str], output_file: Path) -> Mesh:
    with output_file.open("wb") as output:
        process = subprocess.Popen(
            [binaries.shoal(), "up", *options], env=_told(environment), stdout=output, stderr=subprocess.STDOUT
        )
    return Mesh(process=process, environment=environment, output_file=output_file)


def _wait_until_ready_or_gone(mesh: Mesh) -> None:
    try:
        wait_until(lambda: mesh.is_ready or mesh.process.poll() is not None, "readiness", timeout_seconds=START_SECONDS)
    except TimeoutError:
        mesh.stop()
        raise AssertionError(mesh.output()) from None


def _told(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SHOAL_")} | environment


def free_shift() -> int:
    """A SHOAL_PORT_SHIFT whose ports are all free at this moment, and below those that systems give to clients."""
    while True:
        shift = random.randint(1000, 20000)  # noqa: S311 - no secret
        largest = Topology.default(agent_replicas=20, gateways=10, limiters=4, caches=4, shift=shift)
        ports = [largest.envoy.tls, *(port for _, port in largest.named_ports())]
        if not any(map(is_busy, ports)):
            return shift

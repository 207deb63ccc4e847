"""Measures the default mesh as a newcomer meets it: time to start, memory, first delta, recovery of a killed replica.

Usage: python -m load.footprint [--runs 5] [--port-shift 12000]

Starts `shoal up` in an empty folder, several times, measures each time, and prints a Markdown table with the median and
the spread. Traffic goes to this machine only: ten short streamed requests a run.
"""

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from load.measuring.memory import pss_bytes

STREAMS = 10
AGENTS = 3
PATIENCE_SECONDS = 60
NOT_PYTHON = ("envoy", "valkey", "model")
"""The model's server is Python, but what it holds is the model."""


@dataclass(slots=True)
class Samples:
    """What was measured, by name, one value a run (first deltas: ten)."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def table(self) -> str:
        lines = ["| what | median | lowest | highest | samples |", "|---|---|---|---|---|"]
        for name, values in self.values.items():
            numbers = (statistics.median(values), min(values), max(values))
            lines.append(f"| {name} | {' | '.join(f'{number:.3g}' for number in numbers)} | {len(values)} |")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class RunningMesh:
    """A mesh that was started for measuring."""

    home: Path
    port: int
    admin_port: int
    supervisor: int

    def processes(self) -> dict[str, int]:
        """Process ids by name, the supervisor among them."""
        return {"launcher": self.supervisor, **{name: process["pid"] for name, process in self.listed().items()}}

    def listed(self) -> dict[str, dict[str, Any]]:
        """What the supervisor says of the processes that run, by name."""
        return {process["name"]: process for process in json.loads((self.home / "processes.json").read_text())}

    def key(self) -> str:
        return (self.home / "demo-api-key").read_text().strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="how often to start the mesh (default 5)")
    parser.add_argument("--port-shift", type=int, default=12000, help="added to every port (default 12000)")
    arguments = parser.parse_args()
    samples = Samples()
    for number in range(1, arguments.runs + 1):
        print(f"run {number} of {arguments.runs} ...", file=sys.stderr, flush=True)
        measure(samples, arguments.port_shift)
    print(samples.table())


def measure(samples: Samples, port_shift: int) -> None:
    """One start of the mesh, everything that is measured on it, and its stop."""
    with started(samples, port_shift) as mesh:
        for number in range(STREAMS):
            seconds = first_delta_seconds(mesh, f"Tell me about the number {number}.")
            samples.add("first delta of a stream, s", seconds)
        memory(samples, mesh)
        samples.add("killed agent back in Envoy's pool, s", recovery_seconds(mesh, "agent-2"))


@contextmanager
def started(samples: Samples, port_shift: int) -> Iterator[RunningMesh]:
    shoal = Path(sys.executable).with_name("shoal")
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "SHOAL_HOME": home, "SHOAL_PORT_SHIFT": str(port_shift)}
        began = time.monotonic()
        process = subprocess.Popen([shoal, "up"], env=environment, stdout=subprocess.DEVNULL)
        mesh = RunningMesh(Path(home), 8080 + port_shift, 9901 + port_shift, process.pid)
        try:
            wait_for(lambda: get(mesh.port, "/health/ready")[0] == 200)
            samples.add("start to an open door, s", time.monotonic() - began)
            wait_for(lambda: healthy_agents(mesh) == AGENTS)
            samples.add("start to all agents, s", time.monotonic() - began)
            yield mesh
        finally:
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_SECONDS)
            samples.add("SIGTERM to all gone, s", time.monotonic() - began)


def first_delta_seconds(mesh: RunningMesh, task: str) -> float:
    """From sending the request to the first piece of text."""
    connection = http.client.HTTPConnection("127.0.0.1", mesh.port, timeout=PATIENCE_SECONDS)
    body = json.dumps({"task": task, "max_tokens": 16, "stream": True})
    began = time.monotonic()
    connection.request("POST", "/api/v1/task", body, {"X-API-Key": mesh.key()})
    first = None
    for line in connection.getresponse():
        if first is None and b'"type":"delta"' in line:
            first = time.monotonic() - began
    connection.close()
    if first is None:
        raise RuntimeError(f"the stream of {task!r} had no delta")
    return first


def memory(samples: Samples, mesh: RunningMesh) -> None:
    pss = {name: pss_bytes(pid) / 2**20 for name, pid in mesh.processes().items()}
    for name, megabytes in pss.items():
        samples.add(f"PSS of {name}, MB", megabytes)
    python = [megabytes for name, megabytes in pss.items() if not name.startswith(NOT_PYTHON)]
    samples.add("PSS of all Python processes but the model, MB", sum(python))


def recovery_seconds(mesh: RunningMesh, name: str) -> float:
    """From kill -9 until another process serves in its place and Envoy calls all agents healthy."""
    killed = mesh.listed()[name]
    began = time.monotonic()
    os.kill(killed["pid"], signal.SIGKILL)
    wait_for(lambda: mesh.listed().get(name, killed)["pid"] != killed["pid"])
    wait_for(lambda: get(killed["metrics_port"], "/ready")[0] == 200 and healthy_agents(mesh) == AGENTS)
    return time.monotonic() - began


def healthy_agents(mesh: RunningMesh) -> int:
    status = json.loads(get(mesh.admin_port, "/clusters?format=json")[1])
    agents = next(cluster for cluster in status["cluster_statuses"] if cluster["name"] == "agent")
    return sum(not _is_out(host["health_status"]) for host in agents["host_statuses"])


def _is_out(health: dict[str, Any]) -> bool:
    return any(value is True for name, value in health.items() if name.startswith("failed"))


def get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body; status 0 if nobody listens yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE_SECONDS} s in vain")
        time.sleep(0.02)


if __name__ == "__main__":
    main()

"""Measures how soon a pool follows: a new agent's first answer after `shoal scale`, a killed agent's end in Envoy.

Usage: python -m load.scaling [--times 10] [--port-shift 12000]

Starts `shoal up` in an empty folder, does both that many times on the otherwise quiet mesh, and prints a Markdown table
with the median and the spread. The answers are known to the cache, so no model's time is in them.
"""

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from load.footprint import PATIENCE_SECONDS, RunningMesh, Samples, get, started, wait_for

AGENTS, MORE_AGENTS = "3", "4"
TASK = {"task": "Say yes.", "max_tokens": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="how often to do each (default 10)")
    parser.add_argument("--port-shift", type=int, default=12000, help="added to every port (default 12000)")
    arguments = parser.parse_args()
    samples = Samples()
    with started(samples, arguments.port_shift) as mesh:
        client = Client(mesh)
        for number in range(1, arguments.times + 1):
            print(f"round {number} of {arguments.times} ...", file=sys.stderr, flush=True)
            scale_up_and_down(samples, mesh, client)
            # Each in turn: who dies often is started again more slowly.
            kill(samples, mesh, f"agent-{number % int(AGENTS) + 1}")
    print(samples.table())


class Client:
    """Asks for the same answer again and again, with a key for many requests, on one connection."""

    def __init__(self, mesh: RunningMesh) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", mesh.port, timeout=PATIENCE_SECONDS)
        key = shoal(mesh, "keys", "create", "--tenant", "load", "--tier", "bench").communicate()[0]
        self._headers = {"X-API-Key": key.decode().strip()}

    def replica(self) -> str:
        """Who gave the answer. Raises RuntimeError if there was none."""
        self._connection.request("POST", "/api/v1/task", json.dumps(TASK), self._headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{response.status}: {answer.decode(errors='replace')}")
        return response.headers["x-shoal-replica"]


def scale_up_and_down(samples: Samples, mesh: RunningMesh, client: Client) -> None:
    known = set(agents(mesh))
    began = time.monotonic()
    growing = shoal(mesh, "scale", "agent", MORE_AGENTS)
    wait_for(lambda: client.replica() not in known)
    samples.add("`shoal scale agent 4` to the new agent's first answer, s", time.monotonic() - began)
    finish(growing)
    began = time.monotonic()
    finish(shoal(mesh, "scale", "agent", AGENTS))
    samples.add("`shoal scale agent 3` until the idle agent has ended, s", time.monotonic() - began)


def kill(samples: Samples, mesh: RunningMesh, name: str) -> None:
    """From kill -9 until Envoy does not have the agent any more; then waits until it is back."""
    killed = mesh.listed()[name]
    began = time.monotonic()
    os.kill(killed["pid"], signal.SIGKILL)
    wait_for(lambda: killed["port"] not in agents_in_envoy(mesh))
    samples.add("kill -9 of an agent until Envoy does not have it, s", time.monotonic() - began)
    wait_for(lambda: not agents_in_envoy(mesh).get(killed["port"], {"gone": True}))


def agents(mesh: RunningMesh) -> list[str]:
    return [name for name in mesh.listed() if name.startswith("agent-")]


def agents_in_envoy(mesh: RunningMesh) -> dict[int, dict[str, Any]]:
    """By port, what keeps Envoy from sending it calls."""
    status = json.loads(get(mesh.admin_port, "/clusters?format=json&filter=^agent$")[1])
    [cluster] = status["cluster_statuses"]
    return {
        host["address"]["socket_address"]["port_value"]: {
            name: value for name, value in host["health_status"].items() if value is True
        }
        for host in cluster.get("host_statuses", ())
    }


def shoal(mesh: RunningMesh, *arguments: str) -> "subprocess.Popen[bytes]":
    """A command that speaks to this mesh, begun."""
    command = [str(Path(sys.executable).with_name("shoal")), *arguments]
    # The inner listener is one port, whose shift the mesh and its commands share.
    environment = {**os.environ, "SHOAL_HOME": str(mesh.home), "SHOAL_PORT_SHIFT": str(mesh.port - 8080)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)


def finish(command: "subprocess.Popen[bytes]") -> None:
    """Waits for its end. Raises RuntimeError if it failed."""
    said, _ = command.communicate(timeout=PATIENCE_SECONDS)
    if command.returncode != 0:
        raise RuntimeError(said.decode())


if __name__ == "__main__":
    main()

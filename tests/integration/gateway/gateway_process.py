"""The gateway as a process of its own, and clients of it."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx

from load.measuring.ports import free_port
from tests.backends import accepts_connections, wait_until
from tests.mesh_identity import SECRET, signed

REPLICA = "gateway-1"
TIMEOUT_SECONDS = 20.0
MAX_BYTES = 400_000

_PROGRAM = """
import asyncio, os
from meshkit.settings import load
from services.gateway.main import run
from services.gateway.settings import GatewaySettings
asyncio.run(run(load(GatewaySettings, os.environ)))
"""


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """A running gateway."""

    process: "subprocess.Popen[bytes]"
    port: int
    metrics_url: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        with urllib.request.urlopen(self.metrics_url.replace("/metrics", "/status")) as response:  # noqa: S310
            told: dict[str, Any] = json.load(response)
        return told

    async def becomes(self, **expected: object) -> None:
        """Returns when this is what it says of itself."""
        await asyncio.to_thread(wait_until, lambda: expected.items() <= self.status().items(), f"{expected}")

    def client(self, headers: httpx._types.HeaderTypes | None = None) -> httpx.AsyncClient:
        """A client that carries an identity, or whatever headers it is given instead."""
        headers = signed() if headers is None else headers
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=TIMEOUT_SECONDS)

    def counted(self, method: str, status: int) -> float:
        """How many requests ended with that status."""
        name = f'shoal_http_seconds_count{{method="{method}",status="{status}"}} '
        with urllib.request.urlopen(self.metrics_url) as response:  # noqa: S310 - our own http address
            lines = response.read().decode().splitlines()
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


@contextmanager
def gateway_process(
    folder: Path, *, mesh_port: int, port: int | None = None, output: IO[bytes] | None = None, **settings: str
) -> Iterator[GatewayProcess]:
    """Starts a gateway and waits until it serves; it has stopped in order at the end. `output` gets its log."""
    secret_file = folder / "mesh_secret"
    secret_file.write_bytes(SECRET)
    port, metrics_port = port or free_port(), free_port()
    environ = {
        "SHOAL_REPLICA": REPLICA,
        "SHOAL_PORT": str(port),
        "SHOAL_METRICS_PORT": str(metrics_port),
        "SHOAL_MESH_SECRET_FILE": str(secret_file),
        "SHOAL_MESH_ADDRESS": f"127.0.0.1:{mesh_port}",
        "SHOAL_REQUEST_MAX_BYTES": str(MAX_BYTES),
        "SHOAL_LOG_LEVEL": "warning",
        "SHOAL_DRAIN_NOTICE_SECONDS": "0",
        "SHOAL_DRAIN_SECONDS": "1",
        # So that tests see what the agent says, each time.
        "SHOAL_NEAR_CACHE_SECONDS": "0",
        **settings,
    }
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], env=environ, stdout=output) as process:
        try:
            wait_until(lambda: process.poll() is not None or accepts_connections(port), "the start of the gateway")
            assert process.poll() is None, "the gateway ended at its start; its output says why"
            yield GatewayProcess(process, port, f"http://127.0.0.1:{metrics_port}/metrics")
        finally:
            _stop(process)


@asynccontextmanager
async def running_gateway(
    folder: Path, *, mesh_port: int, port: int | None = None, output: IO[bytes] | None = None, **settings: str
) -> AsyncIterator[GatewayProcess]:
    """The same, with the event loop free for the agent meanwhile."""
    running = gateway_process(folder, mesh_port=mesh_port, port=port, output=output, **settings)
    gateway = await asyncio.to_thread(running.__enter__)
    try:
        yield gateway
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        assert process.wait(TIMEOUT_SECONDS) == 0
    finally:
        process.kill()

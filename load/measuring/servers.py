"""What measured services are started beside: Valkey, an empty RPC, a simulated model, a whole mesh."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from envoyconf.topology import Topology
from launcher.control.client import ControlError, processes
from launcher.home import Home as MeshHome
from launcher.processes import binaries
from launcher.processes.readiness import RedisPong
from load.measuring.home import Home
from load.measuring.ports import free_port, free_shift
from load.measuring.rpc import Rpc

MESH_STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Valkey:
    """A server without persistence that may be started again, always on the same port."""

    home: Home
    name: str = "valkey"
    options: Sequence[str] = ()
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Yields its URL. Killed at the end."""
        place = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.home.folder))
        command = [str(binaries.valkey_server()), *place, *self.options]
        async with self.home.running(self.name, command, {}, RedisPong(self.port)):
            yield self.url


@asynccontextmanager
async def echo(home: Home, rpc: Rpc) -> AsyncIterator[str]:
    """The empty RPC that a service is compared with; yields its address. Killed at the end."""
    port = free_port()
    command = [sys.executable, "-m", "load.measuring.echo", str(port), rpc.stubs, rpc.service, rpc.name]
    async with home.running("echo", command, {}, _Accepts(port)):
        yield f"127.0.0.1:{port}"


@asynccontextmanager
async def simulated_model(home: Home, *options: str) -> AsyncIterator[str]:
    """A model; yields its address. Killed at the end."""
    port = free_port()
    command = [sys.executable, "-m", "load.simulated_model", "--port", str(port), *options]
    async with home.running("model", command, {}, _Accepts(port)):
        yield f"http://127.0.0.1:{port}"


@dataclass(frozen=True, slots=True)
class Mesh:
    """A running mesh."""

    address: str
    """Its front door."""
    inner_address: str
    """Where its services call each other."""


@asynccontextmanager
async def mesh(home: Home, settings: Mapping[str, str]) -> AsyncIterator[Mesh]:
    """`shoal up` in this home. Stopped in order at the end, or killed."""
    shift = free_shift()
    ports = Topology.default(shift=shift).envoy
    environment = {"SHOAL_HOME": str(home.folder), "SHOAL_PORT_SHIFT": str(shift), **settings}
    command = [str(binaries.shoal()), "up"]
    async with home.running("mesh", command, environment, WholeMesh(home), stop_seconds=MESH_STOP_SECONDS):
        yield Mesh(f"127.0.0.1:{ports.front}", f"127.0.0.1:{ports.inner}")


@dataclass(frozen=True, slots=True)
class WholeMesh:
    """Every process of the mesh in this home is ready: its door opens before all agents and gateways are there."""

    home: Home

    async def passes(self) -> bool:
        try:
            rows = await asyncio.to_thread(processes, MeshHome.at(str(self.home.folder)))
        except ControlError:
            return False
        return bool(rows) and all(row.state == "ready" and row.in_envoy in ("healthy", "") for row in rows)


@dataclass(frozen=True, slots=True)
class _Accepts:
    """Somebody listens on the port."""

    port: int

    async def passes(self) -> bool:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()
        return True

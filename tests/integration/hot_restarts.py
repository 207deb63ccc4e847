"""A front door whose Envoys are started and replaced as the launcher does it."""

import asyncio
import functools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from envoyconf.topology import FloodGuard, Topology
from launcher.edge.admin import EnvoyAdmin
from launcher.edge.hot_restart import HotRestart, HotRestartError, TakenOver
from launcher.processes.readiness import Probe, until_ready
from tests.integration.front_door import ENVOY, FrontDoor, front_door, on_free_ports, write_configuration

STREAM_MAX_SECONDS = 5
DRAIN_SECONDS = 18
"""Little more than the least that reaches clients which are silent."""


@dataclass
class Envoys:
    """The Envoys of one front door, in the order in which they started."""

    hot_restart: HotRestart
    admin: EnvoyAdmin
    log: Path
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start(self, command: Sequence[str], probe: Probe) -> None:
        """Returns when the probe passes. Raises HotRestartError if the process ends before."""
        with self.log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
        self.processes.append(process)
        ready, end = asyncio.create_task(until_ready([probe])), asyncio.create_task(process.wait())
        await asyncio.wait({ready, end}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        end.cancel()
        if process.returncode is not None:
            raise HotRestartError(f"ended with {process.returncode}")

    async def start_first(self) -> None:
        """One that takes over from nobody."""
        await self.start(self.hot_restart.first(), TakenOver(self.admin, epoch=0))

    async def stop(self) -> None:
        """Ends all at once, and removes what they leave."""
        for process in self.processes:
            if process.returncode is None:
                process.terminate()
        for process in self.processes:
            await process.wait()
        self.hot_restart.clean_up()


@asynccontextmanager
async def replaceable_door(folder: Path) -> AsyncIterator[tuple[FrontDoor, Envoys]]:
    """A front door behind its first Envoy, and those that run it."""
    topology = replace(on_free_ports(folder), flood_guard=FloodGuard(per_second=100_000, burst=100_000))
    hot_restart = HotRestart(
        binary=Path(ENVOY),
        config=folder / "envoy.yaml",
        base_id_file=folder / "base-id",
        stream_max_seconds=STREAM_MAX_SECONDS,
        drain_seconds=DRAIN_SECONDS,
    )
    envoys = Envoys(hot_restart=hot_restart, admin=EnvoyAdmin(topology.envoy.admin), log=folder / "envoy.log")
    async with front_door(topology, envoy=functools.partial(_running, envoys)) as door:
        yield door, envoys


@asynccontextmanager
async def _running(envoys: Envoys, topology: Topology) -> AsyncIterator[Path]:
    write_configuration(topology)
    try:
        await envoys.start_first()
        yield envoys.log
    finally:
        await envoys.stop()

"""What the fleet refuses, with real files and no processes."""

import asyncio
import shutil
from pathlib import Path

import pytest

from launcher.console import Console
from launcher.control.fleet import FleetError
from launcher.edge.admin import EnvoyAdmin
from launcher.edge.succession import ENVOY, EnvoySuccession
from launcher.edge.view import EnvoyView
from launcher.fleet.mesh_fleet import MeshFleet
from launcher.fleet.pools import Pools
from launcher.home import Home
from launcher.planner import Planner
from launcher.processes.plan import Binaries
from launcher.processes.supervisor import Supervisor
from launcher.settings import UpSettings
from load.measuring.ports import free_port

BINARIES = Binaries(shoal=Path("/bin/shoal"), envoy=Path("/bin/envoy"), valkey=Path("/bin/valkey-server"))


class World:
    """A mesh with three agents, none of which was started."""

    def __init__(self, folder: Path) -> None:
        settings, home = UpSettings(home=str(folder)), Home(folder)
        planner = Planner(settings, home=home, binaries=BINARIES)
        topology = settings.topology()
        self.files = Path(topology.files)
        self.pools = Pools(topology)
        self.pools.prepare()
        self.plan = planner.plan()
        self.supervisor = Supervisor(self.plan, environ={}, home=home, console=Console())
        self.admin_port = free_port()
        admin = EnvoyAdmin(self.admin_port)
        self.envoys = EnvoySuccession(supervisor=self.supervisor, hot_restart=planner.hot_restart, admin=admin)
        self.said: list[str] = []
        self.fleet = MeshFleet(
            supervisor=self.supervisor,
            planner=planner,
            pools=self.pools,
            envoy=EnvoyView(admin),
            envoys=self.envoys,
            drain_seconds=1,
        )

    async def scale_agents(self, replicas: int) -> None:
        await self.fleet.scale("agent", replicas, self.said.append)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("service", ["agent", ENVOY])
async def test_nothing_is_changed_while_the_door_is_open_and_not_all_are_there(world: World, service: str) -> None:
    for name in ("agent-1", "gateway-1", ENVOY):
        world.supervisor.keepers[name].was_ready.set()
    with pytest.raises(FleetError, match="still starting"):
        await world.scale_agents(1)
    with pytest.raises(FleetError, match="still starting"):
        await world.fleet.restart(service, world.said.append)
    world.supervisor.was_ready.set()
    await world.scale_agents(3)
    assert world.said == ["agent: there are 3 already"]


async def test_a_change_that_cannot_be_written_is_refused_and_nobody_leaves(world: World) -> None:
    world.supervisor.was_ready.set()
    shutil.rmtree(world.files)
    with pytest.raises(FleetError, match="could not be written to the files that Envoy reads: No such file"):
        await world.scale_agents(2)
    assert len(world.pools.members["agent"].staying()) == 3


async def test_a_mesh_whose_envoy_never_started_shuts_nobody_elses_door(world: World) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", world.admin_port):
        await world.envoys.shut(patience_seconds=1)
    assert not asked

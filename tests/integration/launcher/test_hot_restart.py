"""How Envoys start, refuse to be replaced, shut their door, and what they leave behind."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from launcher.edge.hot_restart import HotRestartError, replaced, shut
from tests.integration.front_door import FrontDoor, call, get, held_streams, stat
from tests.integration.hot_restarts import Envoys, replaceable_door

EXECUTE = "/shoal.agent.v1.AgentService/Execute"
STREAM = "/shoal.agent.v1.AgentService/ExecuteStream"
Door = tuple[FrontDoor, Envoys]


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with replaceable_door(tmp_path) as running:
        yield running


def shared_memory() -> set[Path]:
    return set(Path("/dev/shm").glob("envoy_shared_memory_*"))  # noqa: S108 - where Envoy puts it


async def test_nothing_is_left_in_shared_memory(tmp_path: Path) -> None:
    async with replaceable_door(tmp_path) as (_, envoys):
        (mine,) = [
            file for file in shared_memory() if file.name.endswith(f"_{envoys.hot_restart.base_id_file.read_text()}0")
        ]
    assert not mine.exists()


async def test_to_clean_up_where_nothing_ran_is_no_error(tmp_path: Path) -> None:
    async with replaceable_door(tmp_path) as (_, envoys):
        pass
    envoys.hot_restart.clean_up()


async def test_a_configuration_that_envoy_refuses_is_found_before_anything_starts(door: Door) -> None:
    front, envoys = door
    envoys.hot_restart.config.write_text("admin: {port: no}")
    with pytest.raises(HotRestartError, match="does not accept"):
        await replaced(envoys.hot_restart, envoys.admin, start=envoys.start, say=print)
    assert len(envoys.processes) == 1
    assert (await get(front, "/api/v1/task"))[0] == 200


async def test_envoy_tells_its_version_and_its_epoch(door: Door) -> None:
    server = await door[1].admin.server()
    assert (server.epoch, server.state) == (0, "LIVE")


async def test_a_door_that_is_shut_lets_streams_end_and_nobody_in(door: Door) -> None:
    front, envoys = door
    async with held_streams(front.front, STREAM, 1) as [(_, stream)]:
        await shut(envoys.admin, patience_seconds=0.5)
        assert await stat(front, "http.front.downstream_rq_active") == 1
        with pytest.raises(aiohttp.ClientConnectorError):
            await get(front, "/api/v1/task")
        for agent in front.agents:
            agent.released.set()
        await shut(envoys.admin, patience_seconds=60)
        assert await stream.read() == b"released"


async def test_behind_a_shut_door_services_still_reach_each_other(door: Door) -> None:
    front, envoys = door
    await shut(envoys.admin, patience_seconds=0)
    assert await call(front.inner, EXECUTE)

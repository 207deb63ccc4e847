"""Pools that change while a real Envoy runs: files that it watches, replicas that leave, pools that are full."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from envoyconf.endpoints import Endpoint, endpoints_file, render_endpoints
from envoyconf.runtime import render_runtime, runtime_file
from meshkit.errors import Reason
from meshkit.status import from_rpc_error
from tests.integration.front_door import (
    PATIENCE_SECONDS,
    FrontDoor,
    front_door,
    get,
    held_streams,
    logged,
    on_free_ports,
    publish,
    refused,
    replica_of,
    stat,
    until_stat,
)

EXECUTE = "/shoal.agent.v1.AgentService/Execute"
MEMBERS = "cluster.agent.membership_total"
HEALTHY = "cluster.agent.membership_healthy"
REFUSED = {"no YAML": "cluster.agent.update_failure"} | dict.fromkeys(
    ["another type", "another pool", "twice"], "cluster.agent.update_rejected"
)
"""What counts a file that cannot be used."""
FEW_CALLS = 4


@pytest_asyncio.fixture
async def door(tmp_path: Path) -> AsyncIterator[FrontDoor]:
    async with front_door(on_free_ports(tmp_path)) as running:
        yield running


@pytest_asyncio.fixture
async def narrow_door(tmp_path: Path) -> AsyncIterator[FrontDoor]:
    """One agent that may have few calls, and one gateway that may have one."""
    topology = on_free_ports(tmp_path)
    agent = replace(topology.agent, replicas=1, calls_per_replica=FEW_CALLS)
    gateway = replace(topology.gateway, calls_per_replica=1)
    async with front_door(replace(topology, agent=agent, gateway=gateway)) as running:
        yield running


def agents(door: FrontDoor, *numbers: int, draining: int = 0) -> str:
    """The endpoints of those agents, with one that drains if its number is not 0."""
    row = door.topology.agent
    return render_endpoints(
        "agent", [Endpoint(port=row.envoy_port_of(number), draining=number == draining) for number in numbers]
    )


def agents_file(door: FrontDoor) -> Path:
    return Path(endpoints_file(door.topology.files, "agent"))


async def answering(door: FrontDoor) -> set[str]:
    """Who answers thirty calls."""
    return {await replica_of(door.inner, EXECUTE) for _ in range(30)}


async def until_answering(door: FrontDoor, *numbers: int) -> None:
    """Returns when all of these agents and no others answer. Until then some do, and no call fails."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await answering(door) != {f"agent-{number}" for number in numbers}:
            pass


async def test_a_file_that_is_renamed_into_place_changes_the_pool(door: FrontDoor) -> None:
    publish(str(agents_file(door)), agents(door, 2))
    await until_answering(door, 2)
    publish(str(agents_file(door)), agents(door, 1, 2))
    await until_answering(door, 1, 2)


async def test_a_replica_that_drains_gets_nothing_new_and_its_streams_finish(door: FrontDoor) -> None:
    async with held_streams(door.front, EXECUTE, 12) as streams:
        leaving = [stream for name, stream in streams if name == "agent-1"]
        assert leaving
        publish(str(agents_file(door)), agents(door, 1, 2, 3, draining=1))
        await until_stat(door, HEALTHY, 2)
        assert await answering(door) == {"agent-2", "agent-3"}
        door.agents[0].released.set()
        for stream in leaving:
            assert [await stream.read(), await stream.read()] == [b"released", grpc.aio.EOF]
            assert await stream.code() is grpc.StatusCode.OK


async def test_a_stream_goes_on_when_its_replica_is_no_endpoint_any_more(door: FrontDoor) -> None:
    async with held_streams(door.front, EXECUTE, 1) as [(name, stream)]:
        publish(str(agents_file(door)), agents(door, *{1, 2, 3} - {int(name[-1])}))
        await until_stat(door, MEMBERS, 2)
        door.agents[int(name[-1]) - 1].released.set()
        assert await stream.read() == b"released"


@pytest.mark.parametrize("broken", ["no YAML", "another type", "another pool", "twice"])
async def test_a_file_that_envoy_cannot_use_changes_nothing(door: FrontDoor, broken: str) -> None:
    good = agents(door, 1)
    content = {
        "no YAML": "{[}",
        "another type": good.replace("ClusterLoadAssignment", "Endpoint"),
        "another pool": good.replace("cluster_name: agent", "cluster_name: gateway"),
        "twice": good + good.removeprefix("resources:\n"),
    }
    publish(str(agents_file(door)), content[broken])
    await until_stat(door, REFUSED[broken], 1)
    await until_answering(door, 1, 2, 3)
    publish(str(agents_file(door)), good)
    await until_answering(door, 1)


async def test_no_part_of_a_file_passes_for_the_whole(door: FrontDoor) -> None:
    lines = agents(door, 1).splitlines(keepends=True)
    attempts = await stat(door, "cluster.agent.update_attempt")
    for count in range(len(lines)):
        publish(str(agents_file(door)), "".join(lines[:count]))
        await until_stat(door, "cluster.agent.update_attempt", attempts + count + 1)
        assert await stat(door, MEMBERS) == 3
    await until_answering(door, 1, 2, 3)


async def test_a_file_that_is_written_in_place_goes_unnoticed(door: FrontDoor) -> None:
    before = await stat(door, "cluster.agent.update_attempt")
    agents_file(door).write_text(agents(door))
    publish(endpoints_file(door.topology.files, "cache"), render_endpoints("cache", []))
    await until_stat(door, "cluster.cache.membership_total", 0)
    assert await stat(door, "cluster.agent.update_attempt") == before
    await until_answering(door, 1, 2, 3)


async def test_a_pool_without_processes_is_out_of_reach(door: FrontDoor) -> None:
    for pool in ("agent", "gateway"):
        publish(endpoints_file(door.topology.files, pool), render_endpoints(pool, []))
        await until_stat(door, f"cluster.{pool}.membership_total", 0)
    error = await refused(door.front, EXECUTE)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert from_rpc_error(error).reason is Reason.SERVICE_UNAVAILABLE
    status, headers, body = await get(door, "/api/v1/task")
    assert (status, body["reason"]) == (503, "SERVICE_UNAVAILABLE")
    line = await logged(door, lambda entry: entry["request_id"] == headers["x-request-id"])
    assert (line["flags"], line["details"]) == ("UH", "no_healthy_upstream")


@pytest.mark.parametrize("listener", ["front", "inner"])
async def test_a_full_pool_refuses_at_once_and_says_when_to_come_back(narrow_door: FrontDoor, listener: str) -> None:
    door, on = narrow_door, getattr(narrow_door, listener)
    await replica_of(on, EXECUTE)
    async with held_streams(on, EXECUTE, FEW_CALLS):
        before = len(door.arrived)
        error = await refused(on, EXECUTE)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        refusal = from_rpc_error(error)
        assert (refusal.reason, refusal.retry_after_seconds) == (Reason.REPLICA_BUSY, 1)
        assert dict(error.trailing_metadata() or ())["grpc-retry-pushback-ms"] == "1000"
        assert len(door.arrived) == before
        line = await logged(door, lambda entry: "UO" in entry["flags"])
        assert (line["listener"], line["attempts"]) == (listener, 1)


async def test_a_pool_that_grows_has_room_for_more(narrow_door: FrontDoor) -> None:
    door = narrow_door
    await replica_of(door.inner, EXECUTE)
    async with held_streams(door.inner, EXECUTE, FEW_CALLS):
        await refused(door.inner, EXECUTE)
        publish(runtime_file(door.topology.files), render_runtime(door.topology, {"agent": 2}))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await answers(door):
                pass


async def answers(door: FrontDoor) -> bool:
    try:
        return await replica_of(door.inner, EXECUTE) == "agent-1"
    except grpc.aio.AioRpcError:
        return False


async def test_a_full_gateway_refuses_in_the_shape_of_the_api(narrow_door: FrontDoor) -> None:
    door = narrow_door
    async with asyncio.TaskGroup() as running:
        held = running.create_task(get(door, "/api/v1/held"))
        await until_stat(door, "cluster.gateway.upstream_rq_active", 1)
        status, headers, body = await get(door, "/api/v1/task")
        assert (status, body["reason"], headers["retry-after"]) == (503, "REPLICA_BUSY", "1")
        held.cancel()

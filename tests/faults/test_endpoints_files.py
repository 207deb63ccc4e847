"""The file that tells Envoy who is in a pool, spoiled while the whole mesh runs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import grpc
import pytest

from envoyconf.endpoints import Endpoint, endpoints_file, render_endpoints
from launcher.home import write_private
from meshkit.errors import Reason
from meshkit.status import from_rpc_error
from tests.faults.bystanders import BystandersOf
from tests.faults.callers import Caller, caller_of
from tests.faults.envoy_stats import envoy_stat
from tests.faults.pools import back_in_pool, healthy, kill
from tests.faults.waiting import until
from tests.mesh import Mesh

AGENTS = 3
BROKEN: dict[str, Callable[[str], str]] = {
    "half of it": lambda good: good[: len(good) // 2],
    "no YAML": lambda good: "{[}",
    "another type": lambda good: good.replace("ClusterLoadAssignment", "Endpoint"),
    "two pools in one": lambda good: good + good.removeprefix("resources:\n"),
}


@pytest.fixture
async def caller(wide_mesh: Mesh) -> AsyncIterator[Caller]:
    key = await asyncio.to_thread(wide_mesh.create_key, tenant="many", tier="bench")
    async with caller_of(wide_mesh, key) as caller:
        yield caller


def file_of(mesh: Mesh, pool: str) -> Path:
    return Path(endpoints_file(str(mesh.home / "envoy"), pool))


def of_agents(mesh: Mesh, *numbers: int) -> str:
    return render_endpoints("agent", [Endpoint(port=mesh.envoy_port(f"agent-{number}")) for number in numbers])


async def until_stat(mesh: Mesh, name: str, wanted: int) -> None:
    async def is_so() -> bool:
        return envoy_stat(mesh, f"cluster.{name}") == wanted

    await until(is_so, f"{name} being {wanted}")


async def until_healthy(mesh: Mesh, replicas: int) -> None:
    async def are_there() -> bool:
        return await healthy(mesh, "agent") == replicas

    await until(are_there, f"a pool of {replicas}")


def refused_files(mesh: Mesh) -> int:
    return sum(envoy_stat(mesh, f"cluster.agent.{name}") for name in ("update_failure", "update_rejected"))


async def test_what_cannot_be_used_changes_nothing_and_the_next_change_mends_it(
    wide_mesh: Mesh, bystanders: BystandersOf
) -> None:
    good = file_of(wide_mesh, "agent").read_text()
    async with bystanders(wide_mesh) as others:
        await others.quiet()
        for broken, spoiled in BROKEN.items():
            before = refused_files(wide_mesh)
            write_private(file_of(wide_mesh, "agent"), spoiled(good))

            async def is_refused(count: int = before) -> bool:
                return refused_files(wide_mesh) == count + 1

            await until(is_refused, f"the refusal of {broken}")
            assert await healthy(wide_mesh, "agent") == AGENTS
        await others.during("the file of a pool is broken")
        await wide_mesh.shoal_meanwhile("scale", "agent", str(AGENTS + 1))
        assert await healthy(wide_mesh, "agent") == AGENTS + 1
        await wide_mesh.shoal_meanwhile("scale", "agent", str(AGENTS))
    await until_healthy(wide_mesh, AGENTS)


async def test_who_is_named_twice_counts_once(wide_mesh: Mesh) -> None:
    good, taken = file_of(wide_mesh, "agent").read_text(), envoy_stat(wide_mesh, "cluster.agent.update_success")
    write_private(file_of(wide_mesh, "agent"), of_agents(wide_mesh, 1, 2, 3, 2))
    await until_stat(wide_mesh, "agent.update_success", taken + 1)
    assert envoy_stat(wide_mesh, "cluster.agent.membership_total") == AGENTS
    write_private(file_of(wide_mesh, "agent"), good)
    await until_stat(wide_mesh, "agent.update_success", taken + 2)


async def test_a_pool_that_is_said_to_be_empty_is_until_one_of_its_processes_changes(
    wide_mesh: Mesh, caller: Caller
) -> None:
    write_private(file_of(wide_mesh, "agent"), of_agents(wide_mesh))
    await until_stat(wide_mesh, "agent.membership_total", 0)
    with pytest.raises(aiohttp.ClientResponseError) as over_rest:
        await caller.rest("Say it.")
    assert over_rest.value.status == 503
    with pytest.raises(grpc.aio.AioRpcError) as over_grpc:
        await caller.grpc("Say it.")
    assert over_grpc.value.code() is grpc.StatusCode.UNAVAILABLE
    assert from_rpc_error(over_grpc.value).reason is Reason.SERVICE_UNAVAILABLE
    async with caller.session.get("/health") as answer:
        assert answer.status == 200
    pid = kill(wide_mesh, "agent-2")
    await back_in_pool(wide_mesh, "agent-2", pid=pid, replicas=AGENTS)
    assert await caller.rest("Say it.")


async def test_a_file_that_is_written_in_place_goes_unnoticed(wide_mesh: Mesh) -> None:
    good = file_of(wide_mesh, "agent").read_text()
    seen = {pool: envoy_stat(wide_mesh, f"cluster.{pool}.update_attempt") for pool in ("agent", "gateway")}
    file_of(wide_mesh, "agent").write_text(of_agents(wide_mesh))
    write_private(file_of(wide_mesh, "gateway"), file_of(wide_mesh, "gateway").read_text())
    await until_stat(wide_mesh, "gateway.update_attempt", seen["gateway"] + 1)
    assert envoy_stat(wide_mesh, "cluster.agent.update_attempt") == seen["agent"]
    assert await healthy(wide_mesh, "agent") == AGENTS
    write_private(file_of(wide_mesh, "agent"), good)
    await until_stat(wide_mesh, "agent.update_attempt", seen["agent"] + 1)

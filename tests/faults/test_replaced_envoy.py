"""Envoy replaced under load by `shoal restart envoy`, and what becomes of the mesh when one of the Envoys is killed."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import CompletedProcess

import aiohttp
import grpc
import pytest

from tests.e2e.mixed_callers import RestCaller, mixed_callers
from tests.faults.callers import Caller, caller_of
from tests.faults.envoy_stats import envoy_stat
from tests.faults.held_streams import WHOLE, held_streams
from tests.faults.pools import healthy, kill
from tests.faults.waiting import until
from tests.mesh import Mesh, running_mesh
from tests.simulated_model import ModelProcess

STREAM_MAX_SECONDS = 12
"""Small, so that the old Envoy ends a minute after the takeover."""
OVERLAP_SECONDS = 90
LONG = "Take your time. [[tokens=160]] [[tokens_per_second=20]]"
OVERLAP = {"envoy": "ready", "envoy-old": "draining"}


def replaceable_mesh(model: ModelProcess) -> AbstractContextManager[Mesh]:
    """Two agents."""
    return running_mesh(
        SHOAL_MODEL_BASE_URL=f"{model.url}/v1",
        SHOAL_AGENT_REPLICAS="2",
        SHOAL_STREAM_MAX_SECONDS=str(STREAM_MAX_SECONDS),
        SHOAL_DRAIN_SECONDS="60",
    )


@pytest.fixture(scope="module")
def mesh(model: ModelProcess) -> Iterator[Mesh]:
    """For tests that leave one Envoy and nobody else who has to end."""
    with replaceable_mesh(model) as started:
        yield started


@pytest.fixture(scope="module")
def key(mesh: Mesh) -> str:
    return mesh.create_key(tenant="many", tier="bench")


@pytest.fixture
async def caller(mesh: Mesh, key: str) -> AsyncIterator[Caller]:
    async with caller_of(mesh, key) as caller:
        yield caller


def replacement(mesh: Mesh) -> "asyncio.Task[CompletedProcess[str]]":
    return asyncio.create_task(asyncio.to_thread(mesh.shoal, "restart", "envoy", check=False))


async def shown(mesh: Mesh, envoys: dict[str, str], *, patience_seconds: float = 30) -> None:
    """Until `shoal ps` shows these Envoys, in these states."""
    async with asyncio.timeout(patience_seconds):
        while {row["name"]: row["state"] for row in await rows_of(mesh) if row["name"].startswith("envoy")} != envoys:
            pass


async def rows_of(mesh: Mesh) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads(await mesh.shoal_meanwhile("ps", "--json"))
    return rows


async def until_served(mesh: Mesh, caller: Caller, *, agents: int, other_than: int) -> None:
    """Until there is another Envoy than that, which knows all agents and answers on every surface."""

    async def serves() -> bool:
        if mesh.pids().get("envoy", other_than) == other_than:
            return False
        try:
            answers = [await ask("Say it. [[tokens=1]]", "") for ask in caller.surfaces.values()]
            return (await healthy(mesh, "agent"), set(answers)) == (agents, {"Say"})
        except (OSError, EOFError, aiohttp.ClientError, grpc.aio.AioRpcError):
            return False

    await until(serves, "the return of Envoy")


def shared_memory(mesh: Mesh) -> Path:
    """The file through which the Envoy that runs now would meet the next one."""
    base_id = (mesh.home / "envoy-base-id").read_text().strip()
    return Path(f"/dev/shm/envoy_shared_memory_{base_id}0")  # noqa: S108 - where Envoy puts it


async def test_a_replaced_envoy_breaks_no_stream_and_refuses_no_call(mesh: Mesh, key: str, caller: Caller) -> None:
    said_before = mesh.output()
    async with (
        mixed_callers(mesh, key, long=False) as callers,
        aiohttp.ClientSession(
            mesh.url, headers={"X-API-Key": key}, connector=aiohttp.TCPConnector(force_close=True)
        ) as fresh,
        asyncio.TaskGroup() as more,
    ):
        more.create_task(callers.go_on("new connection", RestCaller(fresh).ask))
        async with held_streams(caller, LONG, sse=2, grpc=2) as held:
            replacing = replacement(mesh)
            await shown(mesh, OVERLAP)
            again = await replacement(mesh)
            assert (again.returncode, "being replaced already" in again.stderr) == (1, True)
            # The new Envoy follows the files that tell of replicas.
            await mesh.shoal_meanwhile("scale", "agent", "3")
            await callers.reach(lambda: "agent-3" in callers.replicas)
            assert not replacing.done()
            assert [await stream.ending for stream in held] == [WHOLE] * 4
        done = await replacing
        assert (done.returncode, "nothing left to do" in done.stdout) == (0, True), done
        await mesh.shoal_meanwhile("scale", "agent", "2")
        callers.stop()
    assert not callers.failures
    assert set(callers.answered) == {"rest", "sse", "grpc", "grpc stream", "new connection"}
    # Nobody has to end the old one, and nobody misses it.
    await shown(mesh, {"envoy": "ready"}, patience_seconds=OVERLAP_SECONDS)
    assert "ended with" not in mesh.output().removeprefix(said_before)


async def test_a_killed_envoy_is_followed_by_one_that_knows_the_pools(mesh: Mesh, caller: Caller) -> None:
    remaining = "cluster.agent.circuit_breakers.default.remaining_rq"
    await mesh.shoal_meanwhile("scale", "agent", "3")
    assert await caller.grpc("Say it. [[tokens=1]]") == "Say"
    room, memory = envoy_stat(mesh, remaining), shared_memory(mesh)
    pid = kill(mesh, "envoy")
    await until_served(mesh, caller, agents=3, other_than=pid)
    assert envoy_stat(mesh, remaining) == room
    assert (memory.exists(), shared_memory(mesh).exists()) == (False, True)
    await mesh.shoal_meanwhile("scale", "agent", "2")


async def test_a_configuration_that_envoy_refuses_replaces_nothing_and_costs_nothing(
    mesh: Mesh, caller: Caller
) -> None:
    pid, file = mesh.pid("envoy"), mesh.home / "envoy.yaml"
    good = file.read_text()
    file.write_text("admin: {port: no}")
    refused = await replacement(mesh)
    file.write_text(good)
    assert (refused.returncode, "Envoy does not accept" in refused.stderr) == (1, True)
    assert mesh.pid("envoy") == pid
    assert await caller.rest("Say it. [[tokens=1]]") == "Say"


async def test_when_the_old_envoy_is_killed_the_new_one_dies_of_it_and_a_fresh_one_serves(
    mesh: Mesh, caller: Caller
) -> None:
    async with held_streams(caller, LONG, sse=1):
        replacing = replacement(mesh)
        await shown(mesh, OVERLAP)
        memory, new = shared_memory(mesh), mesh.pid("envoy")
        kill(mesh, "envoy-old")
        await until_served(mesh, caller, agents=2, other_than=new)
    # The new one looks for the old one for some seconds, until it gives up.
    assert "envoy          ended with signal SIGABRT" in mesh.output()
    assert (await replacing).returncode == 1
    assert (memory.exists(), shared_memory(mesh).exists()) == (False, True)
    await shown(mesh, {"envoy": "ready"})


async def test_when_the_new_envoy_is_killed_the_old_one_finishes_its_streams_and_a_fresh_one_serves(
    model: ModelProcess,
) -> None:
    with replaceable_mesh(model) as mesh:
        async with caller_of(mesh, mesh.api_key) as caller, held_streams(caller, LONG, sse=1, grpc=1) as held:
            replacing = replacement(mesh)
            await shown(mesh, OVERLAP)
            memory = shared_memory(mesh)
            async with caller_of(mesh, mesh.api_key) as newcomer:
                await until_served(mesh, newcomer, agents=2, other_than=kill(mesh, "envoy"))
                assert [await stream.ending for stream in held] == [WHOLE] * 2
                lost = await replacing
                assert (lost.returncode, "does not answer" in lost.stderr or "a fresh one" in lost.stderr) == (1, True)
                assert (memory.exists(), shared_memory(mesh).exists()) == (False, True)
                await _stopped_in_an_overlap(mesh, newcomer)


async def _stopped_in_an_overlap(mesh: Mesh, caller: Caller) -> None:
    """A second replacement, while an Envoy is left over from the first. Nothing is left of any of the three."""
    async with held_streams(caller, LONG, sse=1, grpc=1):
        replacing = replacement(mesh)
        await shown(mesh, OVERLAP | {"envoy-old-2": "draining"})
        memory = shared_memory(mesh)
        await asyncio.to_thread(mesh.stop)
        assert "stopped before this was done" in (await replacing).stderr
        assert not memory.exists()

"""Pools grow and shrink while callers go on; what cannot be done is refused, and changes nothing."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from envoyconf.endpoints import endpoints_file
from tests.e2e.held_streams import STREAM_TOKENS, STREAMS, held_streams
from tests.e2e.mixed_callers import DRAIN_SECONDS, TOKENS, GrpcCaller, mixed_callers
from tests.mesh import Mesh, running_mesh
from tests.simulated_model import ModelProcess, model_process

PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def model() -> Iterator[ModelProcess]:
    with model_process("--output-tokens", str(TOKENS)) as started:
        yield started


@pytest.fixture(scope="module")
def model_key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without it, no agent starts."""
    file = tmp_path_factory.mktemp("model") / "key"
    file.write_text("a key for the model")
    return file


@pytest.fixture(scope="module")
def mesh(model: ModelProcess, model_key_file: Path) -> Iterator[Mesh]:
    """Two agents, one gateway, one cache; every test leaves as many."""
    with running_mesh(
        SHOAL_MODEL_BASE_URL=f"{model.url}/v1",
        SHOAL_MODEL_API_KEY_FILE=str(model_key_file),
        SHOAL_AGENT_REPLICAS="2",
        SHOAL_DRAIN_SECONDS=DRAIN_SECONDS,
        # The launcher has told Envoy before a process leaves: a shorter notice than the usual is enough.
        SHOAL_DRAIN_NOTICE_SECONDS="0.5",
    ) as started:
        yield started


@pytest.fixture(scope="module")
def key(mesh: Mesh) -> str:
    return mesh.create_key(tenant="many", tier="bench")


async def processes(mesh: Mesh) -> dict[str, dict[str, Any]]:
    """What `shoal ps` shows, by name."""
    rows: list[dict[str, Any]] = json.loads(await mesh.shoal_meanwhile("ps", "--json"))
    return {row["name"]: row for row in rows}


async def pool(mesh: Mesh, service: str) -> set[str]:
    return {name for name, row in (await processes(mesh)).items() if row["service"] == service}


async def reached(mesh: Mesh, condition: Callable[[dict[str, dict[str, Any]]], bool]) -> dict[str, dict[str, Any]]:
    """The processes, once the condition holds of them."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition(rows := await processes(mesh)):
            pass
    return rows


def endpoints(mesh: Mesh, service: str) -> str:
    return Path(endpoints_file(str(mesh.home / "envoy"), service)).read_text()


async def test_new_agents_take_calls_and_old_ones_leave_without_a_failed_request(mesh: Mesh, key: str) -> None:
    async with mixed_callers(mesh, key, long=False) as callers:
        await mesh.shoal_meanwhile("scale", "agent", "5")
        agents = await pool(mesh, "agent")
        assert len(agents) == 5
        await callers.reach(lambda: agents <= set(callers.replicas))
        await mesh.shoal_meanwhile("scale", "agent", "2")
        assert await pool(mesh, "agent") == {"agent-1", "agent-2"}
    assert not callers.failures


@pytest.mark.parametrize(("service", "many"), [("gateway", "2"), ("cache", "2")])
async def test_gateways_and_caches_come_and_go_without_a_failed_request(
    mesh: Mesh, key: str, service: str, many: str
) -> None:
    async with mixed_callers(mesh, key) as callers:
        for replicas in (many, "1"):
            await mesh.shoal_meanwhile("scale", service, replicas)
            assert len(await pool(mesh, service)) == int(replicas)
            await callers.more(50)
    assert not callers.failures


async def test_in_a_full_row_each_leaves_before_its_successor_comes(mesh: Mesh, key: str) -> None:
    await mesh.shoal_meanwhile("scale", "cache", "4")
    before = mesh.pids()
    async with mixed_callers(mesh, key, long=False) as callers:
        await mesh.shoal_meanwhile("restart", "cache")
    after = mesh.pids()
    assert before.keys() == after.keys()
    assert {name for name in after if after[name] != before[name]} == {f"cache-{number}" for number in (1, 2, 3, 4)}
    assert not callers.failures
    await mesh.shoal_meanwhile("scale", "cache", "1")


async def test_agents_that_leave_finish_their_streams_and_get_no_new_calls(
    mesh: Mesh, key: str, model: ModelProcess
) -> None:
    await mesh.shoal_meanwhile("scale", "agent", "5")
    pids = {name: row["pid"] for name, row in (await processes(mesh)).items()}
    async with grpc.aio.insecure_channel(mesh.grpc_target) as channel:
        await GrpcCaller(channel, key).ask("Known 0.", False)
    async with grpc.aio.insecure_channel(mesh.grpc_target) as channel, held_streams(mesh, key, model) as streams:
        leaving = {"agent-3", "agent-4", "agent-5"} & streams.replicas
        assert leaving
        shrinking = asyncio.create_task(mesh.shoal_meanwhile("scale", "agent", "2"))
        rows = await reached(mesh, lambda rows: all(rows[name]["in_envoy"] == "draining" for name in leaving))
        assert {rows[name]["state"] for name in leaving} == {"draining"}
        assert all(rows[name]["running"] > 0 for name in leaving)
        # A known answer, since the model says nothing now.
        caller = GrpcCaller(channel, key)
        answers = [await caller.ask("Known 0.", False) for _ in range(8)]
        # Of the two that stay, the one with fewer streams gets most calls.
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len({answer.replica for answer in answers}) < 2:
                answers.append(await caller.ask("Known 0.", False))
        assert {answer.replica for answer in answers} == {"agent-1", "agent-2"}
        assert {answer.cache for answer in answers} == {"hit"}
        assert not shrinking.done()
        streams.release()
        assert [len(text.split()) for text in await streams.texts()] == [STREAM_TOKENS] * STREAMS
        said = await shrinking
    assert "draining" in said
    assert await pool(mesh, "agent") == {"agent-1", "agent-2"}
    assert not any(psutil.pid_exists(pids[name]) for name in leaving)


async def test_a_pool_can_grow_while_others_still_drain(mesh: Mesh, key: str, model: ModelProcess) -> None:
    await mesh.shoal_meanwhile("scale", "agent", "4")
    async with held_streams(mesh, key, model) as streams:
        leaving = {"agent-3", "agent-4"} & streams.replicas
        assert leaving
        shrinking = asyncio.create_task(mesh.shoal_meanwhile("scale", "agent", "2"))
        await reached(mesh, lambda rows: all(rows[name]["state"] == "draining" for name in leaving))
        await mesh.shoal_meanwhile("scale", "agent", "3")
        rows = await processes(mesh)
        ready = {name for name, row in rows.items() if row["service"] == "agent" and row["state"] == "ready"}
        assert len(ready) == 3
        assert not ready & leaving
        assert leaving <= set(rows)
        streams.release()
        assert [len(text.split()) for text in await streams.texts()] == [STREAM_TOKENS] * STREAMS
        await shrinking
    assert await pool(mesh, "agent") == ready
    await mesh.shoal_meanwhile("scale", "agent", "2")


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("agent", "0"), 2, "0 is not in the range"),
        (("agent", "21"), 1, "There can be 1 to 20 of agent, not 21."),
        (("cache", "5"), 1, "There can be 1 to 4 of cache, not 5."),
        (("model", "2"), 2, "'model' is not one of"),
        (("ratelimit", "2"), 1, "ratelimit cannot be scaled while"),
    ],
)
def test_what_cannot_be_is_refused(mesh: Mesh, arguments: tuple[str, ...], code: int, reason: str) -> None:
    before = mesh.pids()
    done = mesh.shoal("scale", *arguments, check=False)
    assert (done.returncode, mesh.pids()) == (code, before)
    assert reason in done.stderr


async def test_a_place_whose_port_another_program_has_is_passed_over(mesh: Mesh) -> None:
    with socket.create_server(("127.0.0.1", mesh.port("agent-1") + 2)):
        await mesh.shoal_meanwhile("scale", "agent", "3")
        assert await pool(mesh, "agent") == {"agent-1", "agent-2", "agent-4"}
        await mesh.shoal_meanwhile("scale", "agent", "2")


@contextmanager
def missing(file: Path) -> Iterator[None]:
    """The file is away for a while."""
    away = file.with_name("away")
    file.rename(away)
    try:
        yield
    finally:
        away.rename(file)


@pytest.mark.parametrize("command", [("scale", "agent", "3"), ("restart", "agent")])
async def test_an_agent_that_dies_at_its_start_changes_nothing(
    mesh: Mesh, model_key_file: Path, command: tuple[str, ...]
) -> None:
    before, known = mesh.pids(), endpoints(mesh, "agent")
    with missing(model_key_file):
        done = await asyncio.to_thread(mesh.shoal, *command, check=False)
    assert done.returncode == 1
    assert "agent-3 does not get ready, and is given up; see its log." in done.stderr
    assert (mesh.pids(), endpoints(mesh, "agent")) == (before, known)


async def test_a_killed_agent_is_no_endpoint_until_it_is_back(mesh: Mesh, model_key_file: Path) -> None:
    port = str(mesh.envoy_port("agent-2"))
    with missing(model_key_file):
        # So it cannot come back.
        os.kill(mesh.pid("agent-2"), signal.SIGKILL)
        await reached(mesh, lambda rows: rows["agent-2"]["state"] != "ready")
        assert port not in endpoints(mesh, "agent")
    rows = await reached(mesh, lambda rows: rows["agent-2"]["in_envoy"] == "healthy")
    assert rows["agent-2"]["restarts"] > 0
    assert port in endpoints(mesh, "agent")


async def test_the_autoscaler_brings_a_pool_inside_its_bounds_at_once() -> None:
    with (
        model_process() as model,
        running_mesh(
            options=("--autoscale", "agent=2..3"), SHOAL_MODEL_BASE_URL=f"{model.url}/v1", SHOAL_AGENT_REPLICAS="1"
        ) as mesh,
    ):
        rows = await reached(mesh, lambda rows: "agent-2" in rows and rows["agent-2"]["in_envoy"] == "healthy")
        assert "agent-3" not in rows


async def test_a_mesh_that_is_stopped_while_it_changes_leaves_no_process() -> None:
    with (
        model_process() as model,
        running_mesh(SHOAL_MODEL_BASE_URL=f"{model.url}/v1", SHOAL_DRAIN_SECONDS=DRAIN_SECONDS) as mesh,
    ):
        key = await asyncio.to_thread(mesh.create_key, tenant="many", tier="bench")
        async with held_streams(mesh, key, model) as streams:
            assert "agent-3" in streams.replicas
            changes = [
                asyncio.create_task(asyncio.to_thread(mesh.shoal, *change, check=False))
                for change in (("scale", "agent", "2"), ("restart", "gateway"))
            ]
            await reached(mesh, lambda rows: rows["agent-3"]["state"] == "draining" and "gateway-2" in rows)
            await asyncio.to_thread(mesh.stop)
            for change in changes:
                assert (await change).returncode == 1
                assert "stopped before this was done" in (await change).stderr
    assert not [process.pid for process in psutil.process_iter() if home_of(process) == str(mesh.home)]


def home_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("SHOAL_HOME")
    except psutil.Error:
        return None

"""The mesh is told to stop while streams run: they end, or their callers are told, and nothing is left."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import psutil

from tests.faults.callers import caller_of
from tests.faults.held_streams import WHOLE, HeldStream, held_streams
from tests.faults.waiting import until
from tests.mesh import Mesh, running_mesh
from tests.simulated_model import ModelProcess

TWO_SECONDS = "Tell it. [[tokens=40]] [[tokens_per_second=20]]"
ENDLESS = "Tell it. [[tokens=10000]] [[tokens_per_second=20]]"
NEVER = "600"
"""Seconds; a stop that waited for that would fail the test."""


@asynccontextmanager
async def busy_mesh(
    model: ModelProcess, task: str, *, drain_seconds: str
) -> AsyncIterator[tuple[Mesh, list[HeldStream]]]:
    """A mesh with two streams of each surface."""
    with running_mesh(
        SHOAL_MODEL_BASE_URL=f"{model.url}/v1", SHOAL_AGENT_REPLICAS="1", SHOAL_DRAIN_SECONDS=drain_seconds
    ) as mesh:
        async with caller_of(mesh, mesh.api_key) as caller, held_streams(caller, task, sse=2, grpc=2) as held:
            yield mesh, held


def stopping(mesh: Mesh) -> "asyncio.Task[None]":
    return asyncio.create_task(asyncio.to_thread(mesh.stop))


async def until_shut(mesh: Mesh) -> None:
    """Until nobody can connect any more."""

    async def is_shut() -> bool:
        try:
            async with aiohttp.request("GET", f"http://127.0.0.1:{port}/health/live"):
                return False
        except aiohttp.ClientConnectorError:
            return True

    port = mesh.grpc_target.rpartition(":")[2]
    await until(is_shut, "the closing of the front door")


async def endings(held: list[HeldStream]) -> list[str]:
    return [await stream.ending for stream in held]


async def test_running_streams_end_and_nobody_else_comes_in(model: ModelProcess) -> None:
    async with busy_mesh(model, TWO_SECONDS, drain_seconds="60") as (mesh, held):
        stop = stopping(mesh)
        await until_shut(mesh)
        assert not any(stream.ending.done() for stream in held)
        assert await endings(held) == [WHOLE] * 4
        await stop


async def test_callers_of_streams_that_take_too_long_are_told(model: ModelProcess) -> None:
    """REST gets `event: error`; neither surface gets an end that looks like one."""
    async with busy_mesh(model, ENDLESS, drain_seconds="1") as (mesh, held):
        await stopping(mesh)
        assert await endings(held) == ["UNAVAILABLE"] * 4


async def test_a_second_signal_ends_everything_at_once(model: ModelProcess) -> None:
    async with busy_mesh(model, ENDLESS, drain_seconds=NEVER) as (mesh, held):
        mesh.process.send_signal(signal.SIGTERM)
        await until_shut(mesh)
        await stopping(mesh)
        assert WHOLE not in await endings(held)


async def test_an_envoy_that_hangs_does_not_hold_up_the_stop(model: ModelProcess) -> None:
    async with busy_mesh(model, ENDLESS, drain_seconds=NEVER) as (mesh, held):
        psutil.Process(mesh.pid("envoy")).suspend()
        await stopping(mesh)
        assert WHOLE not in await endings(held)

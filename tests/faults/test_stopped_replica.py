"""A replica is told to stop while it works: it says so first, finishes what it has, and nobody loses a call."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from launcher.processes.status import status_of
from shoal.agent.v1 import agent_pb2
from tests.faults.bystanders import BystandersOf
from tests.faults.callers import Caller, Surface, caller_of
from tests.faults.fault_report import REPORT
from tests.faults.held_streams import WHOLE, held_streams
from tests.faults.pools import back_in_pool
from tests.mesh import Mesh

AGENTS = 3
EACH = 2 * AGENTS
SHORT = "Say it. [[first_token=0.05]] [[tokens=3]]"
STREAM = "Tell it. [[tokens=60]] [[tokens_per_second=20]]"
"""Three seconds, within the grace of five."""
SERVICE = agent_pb2.DESCRIPTOR.services_by_name["AgentService"].full_name
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def caller(wide_mesh: Mesh) -> AsyncIterator[Caller]:
    key = await asyncio.to_thread(wide_mesh.create_key, tenant="busy", tier="bench")
    async with caller_of(wide_mesh, key) as caller:
        yield caller


@asynccontextmanager
async def plain_calls(caller: Caller) -> AsyncIterator[list[str]]:
    """One plain call after the other, two at a time over each surface; their answers. Fails if one of them fails."""
    answers, enough = list[str](), asyncio.Event()

    async def ask_on(surface: Surface) -> None:
        while not enough.is_set():
            answers.append(await surface(SHORT, ""))

    async with asyncio.TaskGroup() as callers:
        for surface in (caller.rest, caller.grpc) * 2:
            callers.create_task(ask_on(surface))
        yield answers
        enough.set()


async def test_it_says_so_first_and_finishes_what_it_has(
    wide_mesh: Mesh, caller: Caller, bystanders: BystandersOf, pytestconfig: pytest.Config
) -> None:
    pid = wide_mesh.pid("agent-2")
    async with bystanders(wide_mesh) as others, plain_calls(caller) as answers:
        await others.quiet()
        async with held_streams(caller, STREAM, sse=EACH, grpc=EACH) as held:
            assert {stream.replica for stream in held} == {"agent-1", "agent-2", "agent-3"}
            before = len(answers)
            assert await told_to_stop(wide_mesh, "agent-2") == [SERVING, NOT_SERVING]
            told = await status_of(wide_mesh.metrics_port("agent-2"))
            assert told
            assert told.draining
            assert {await stream.ending for stream in held} == {WHOLE}
        await back_in_pool(wide_mesh, "agent-2", pid=pid, replicas=AGENTS)
        await others.during("an agent is told to stop")
    assert len(answers) > before
    assert pytestconfig.stash[REPORT][-1].refused == 0


async def told_to_stop(mesh: Mesh, replica: str) -> list[int]:
    """Sends SIGTERM, and returns what the replica has said of its health up to the word that it serves no more."""
    said = list[int]()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{mesh.port(replica)}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        async for answer in watch:
            said.append(answer.status)
            if answer.status == NOT_SERVING:
                break
            os.kill(mesh.pid(replica), signal.SIGTERM)
        watch.cancel()
    return said

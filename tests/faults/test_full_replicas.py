"""Replicas that refuse: others take the calls, within a budget; when none can, callers hear it, and nothing else."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import grpc
import httpx
import pytest

from launcher.processes.status import status_of
from meshkit.errors import Code, Reason
from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.faults.bystanders import BystandersOf
from tests.faults.callers import Caller, Surface, caller_of, turn
from tests.faults.envoy_stats import envoy_stat
from tests.faults.pools import back_in_pool, healthy, kill, signed_for
from tests.faults.waiting import until
from tests.mesh import Mesh, running_mesh
from tests.refusal import refusal
from tests.simulated_model import ModelProcess, Server

AGENTS = ("agent-1", "agent-2", "agent-3")
SLOTS = 32
CALLERS = 30
"""A fifth of them is more than the three retries that are always allowed."""
CALLS = 300
ATTEMPTS = 3
RETRIED = "cluster.agent.upstream_rq_retry"
OVERFLOW = "cluster.agent.upstream_rq_retry_overflow"
ASKED = "cluster.agent.upstream_rq_total"
SHORT = "Say it. [[tokens=1]]"
WORK = "Say it. [[tokens=1]] [[first_token=0.3]]"


@pytest.fixture(scope="module")
def small_mesh(model: ModelProcess) -> Iterator[Mesh]:
    """Agents that take turns and have few slots, and no queue."""
    with running_mesh(
        SHOAL_MODEL_BASE_URL=f"{model.url}/v1",
        SHOAL_AGENT_REPLICAS=str(len(AGENTS)),
        SHOAL_LOAD_BALANCING="round_robin",
        SHOAL_AGENT_SLOTS=str(SLOTS),
        SHOAL_AGENT_QUEUE="0",
    ) as started:
        yield started


@pytest.fixture(scope="module")
def key(small_mesh: Mesh) -> str:
    return small_mesh.create_key(tenant="many", tier="bench")


@pytest.fixture
async def caller(small_mesh: Mesh, key: str) -> AsyncIterator[Caller]:
    async with caller_of(small_mesh, key) as caller:
        yield caller


@asynccontextmanager
async def full(mesh: Mesh, agent: str) -> AsyncIterator[None]:
    """All slots of the agent are taken, by calls that came past Envoy."""

    async def has(running: int) -> bool:
        status = await status_of(mesh.metrics_port(agent))
        return status is not None and status.running == running

    async with grpc.aio.insecure_channel(f"127.0.0.1:{mesh.port(agent)}") as channel:
        stub = agent_pb2_grpc.AgentServiceStub(channel)
        hanging = pb.ExecuteStreamRequest(turn=turn("[[hang]]"))
        calls = [stub.ExecuteStream(hanging, metadata=signed_for(mesh)) for _ in range(SLOTS)]
        try:
            await until(lambda: has(SLOTS), f"the last slot of {agent}")
            yield
        finally:
            for call in calls:
                call.cancel()
            await until(lambda: has(0), f"the end of the turns of {agent}")


@contextmanager
def nobody_looks_after(mesh: Mesh) -> Iterator[None]:
    """Who dies is neither started again nor taken out of Envoy's file."""
    os.kill(mesh.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(mesh.process.pid, signal.SIGCONT)


async def test_a_refused_connection_is_tried_elsewhere(small_mesh: Mesh, caller: Caller) -> None:
    port, pid = small_mesh.envoy_port("agent-2"), small_mesh.pid("agent-2")
    for surface in (caller.rest, caller.grpc):
        await asyncio.gather(*(surface(SHORT, "") for _ in range(len(AGENTS))))

    async def is_disconnected() -> bool:
        return f"agent::127.0.0.1:{port}::cx_active::0" in await clusters(small_mesh)

    with nobody_looks_after(small_mesh):
        kill(small_mesh, "agent-2")
        await until(is_disconnected, "the end of its connections")
        refused = envoy_stat(small_mesh, "cluster.agent.upstream_cx_connect_fail")
        for surface in (caller.rest, caller.grpc):
            assert await asyncio.gather(*(surface(SHORT, "") for _ in range(len(AGENTS)))) == ["Say"] * len(AGENTS)
        assert envoy_stat(small_mesh, "cluster.agent.upstream_cx_connect_fail") > refused
    await back_in_pool(small_mesh, "agent-2", pid=pid, replicas=len(AGENTS))


async def clusters(mesh: Mesh) -> str:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"http://127.0.0.1:{mesh.admin_port}/clusters")).text


async def test_a_full_replica_is_passed_over(small_mesh: Mesh, caller: Caller) -> None:
    async with full(small_mesh, "agent-2"):
        for surface in (caller.rest, caller.grpc):
            before = envoy_stat(small_mesh, RETRIED)

            async def was_passed_over(surface: Surface = surface, before: int = before) -> bool:
                assert await surface(SHORT, "") == "Say"
                return envoy_stat(small_mesh, RETRIED) > before

            await until(was_passed_over, "a call that agent-2 refused")


async def test_when_all_are_full_callers_hear_it_and_the_replicas_stay_healthy(
    small_mesh: Mesh, caller: Caller
) -> None:
    failures = envoy_stat(small_mesh, "cluster.agent.health_check.failure")
    async with full(small_mesh, "agent-1"), full(small_mesh, "agent-2"), full(small_mesh, "agent-3"):
        asked = envoy_stat(small_mesh, ASKED)
        error = await refusal(caller.agent.Execute(turn(SHORT), metadata=caller.metadata, timeout=60))
        assert envoy_stat(small_mesh, ASKED) - asked == ATTEMPTS
        assert (error.code, error.reason) == (Code.UNAVAILABLE, Reason.REPLICA_BUSY)
        assert error.retry_after_seconds
        async with caller.session.post("/api/v1/task", json={"task": SHORT}) as refused:
            body = await refused.json()
        assert (refused.status, body["reason"]) == (503, "REPLICA_BUSY")
        assert body["retry_after_seconds"] > 0
        assert int(refused.headers["retry-after"]) >= 1
        checked = envoy_stat(small_mesh, "cluster.agent.health_check.success")
        await until(lambda: more_checks(small_mesh, than=checked + 2 * len(AGENTS)), "two more rounds of health checks")
        assert await healthy(small_mesh, "agent") == len(AGENTS)
    assert envoy_stat(small_mesh, "cluster.agent.health_check.failure") == failures
    assert await caller.grpc(SHORT) == "Say"


async def more_checks(mesh: Mesh, *, than: int) -> bool:
    return envoy_stat(mesh, "cluster.agent.health_check.success") > than


async def test_when_a_third_of_the_replicas_refuses_every_call_nothing_is_done_twice_and_others_go_on(
    small_mesh: Mesh, caller: Caller, simulated: Server, bystanders: BystandersOf
) -> None:
    """The budget of a fifth is for retries at the same time, until headers come. Their number may be higher: a third of
    the calls is made again here. But a call that was refused has cost nothing, so the model has no more work."""
    async with full(small_mesh, "agent-2"):
        begun = (await simulated.calls())["begun"]
        answers = await many_calls(caller.grpc)
        assert (await simulated.calls())["begun"] - begun == answers["Say"]
        assert set(answers) <= {"Say", "UNAVAILABLE"}
        assert answers["Say"] > 0.9 * answers.total()
        async with bystanders(small_mesh, sse=2, grpc=2) as others:
            await others.quiet()
            await many_calls(caller.grpc)
            await others.during("a third of the agents refuses every call")
    retried = envoy_stat(small_mesh, RETRIED)
    assert set(await many_calls(caller.grpc)) == {"Say"}
    assert envoy_stat(small_mesh, RETRIED) == retried


async def test_when_all_replicas_refuse_they_get_no_storm_and_calls_pass_again_afterwards(
    small_mesh: Mesh, caller: Caller
) -> None:
    """Retries beyond the budget are not made, and Envoy keeps a part of the calls from the replicas."""

    def reached() -> int:
        return envoy_stat(small_mesh, ASKED) - envoy_stat(small_mesh, "cluster.agent.admission_control.rq_rejected")

    async with full(small_mesh, "agent-1"), full(small_mesh, "agent-2"), full(small_mesh, "agent-3"):
        before, overflow = reached(), envoy_stat(small_mesh, OVERFLOW)
        answers = await many_calls(caller.grpc)
        assert set(answers) == {"UNAVAILABLE"}
        assert reached() - before <= 1.2 * answers.total()
        assert envoy_stat(small_mesh, OVERFLOW) > overflow

    async def all_pass() -> bool:
        return set(await many_calls(caller.grpc)) == {"Say"}

    await until(all_pass, "an answer to every call")


async def many_calls(surface: Surface) -> Counter[str]:
    """Callers that ask again at once, whatever they were told."""
    outcomes = Counter[str]()

    async def ask_on() -> None:
        while outcomes.total() < CALLS:
            try:
                outcomes[await surface(WORK, "")] += 1
            except grpc.aio.AioRpcError as error:
                outcomes[error.code().name] += 1

    await asyncio.gather(*(ask_on() for _ in range(CALLERS)))
    return outcomes

"""A replica is killed: its own calls end as broken and are not made again, nobody else notices, and it comes back."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import aiohttp
import grpc
import pytest

from launcher.edge.admin import EnvoyAdmin
from tests.faults.bystanders import BystandersOf
from tests.faults.callers import Caller, caller_of
from tests.faults.held_streams import WHOLE, held_streams
from tests.faults.pools import back_in_pool, kill
from tests.faults.waiting import until
from tests.mesh import Mesh
from tests.simulated_model import ModelProcess, Server, clients_of

AGENTS = 3
EACH = 4 * AGENTS
"""Calls of one surface, of which some are at each agent: Envoy takes the less busy of two. With half as many, one in a
hundred times none is."""
LONG = "Tell it. [[tokens=400]] [[tokens_per_second=20]]"
RESERVED = 1500
"""Model tokens of a burst of 2,000; at 1 a second, the next as many would be there in a quarter of an hour."""

BROKEN_REST = "503"
BROKEN_SSE = "UNAVAILABLE"
BROKEN_GRPC = "INTERNAL"
"""Its headers were sent, so all that Envoy can do is to reset it (RST_STREAM with NO_ERROR). For a client of gRPC that
is INTERNAL. No option of Envoy 1.40 makes another code or trailers of it."""


@pytest.fixture
async def simulated(model: ModelProcess) -> AsyncIterator[Server]:
    async with clients_of(model) as server:
        await server.calls_reach(concurrent=0, waiting=0)
        yield server


@pytest.fixture(scope="module")
def key(wide_mesh: Mesh) -> str:
    return wide_mesh.create_key(tenant="unlucky", tier="premium")


@pytest.fixture
async def caller(wide_mesh: Mesh, key: str) -> AsyncIterator[Caller]:
    async with caller_of(wide_mesh, key) as caller:
        await all_agents_take_turns(caller)
        yield caller


async def all_agents_take_turns(caller: Caller) -> None:
    """Envoy's threads send calls to a replica that has come back a little later than Envoy says that it is healthy."""
    for surface in ({"sse": EACH}, {"grpc": EACH}):

        async def all_answer(asked: dict[str, int] = surface) -> bool:
            async with held_streams(caller, "Say it.", **asked) as held:
                return len({stream.replica for stream in held}) == AGENTS

        await until(all_answer, "an answer of each agent")


async def begun(simulated: Server) -> int:
    return int((await simulated.calls())["begun"])


async def code(call: "asyncio.Task[str]") -> str:
    """How a plain call ended: WHOLE, the HTTP status or the gRPC status."""
    try:
        await call
    except aiohttp.ClientResponseError as error:
        return str(error.status)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return WHOLE


async def only_calls_of(mesh: Mesh, replica: str, calls: "list[asyncio.Task[str]]") -> int:
    """Waits until none of these calls are left but those that Envoy has sent to the replica, and says how many."""
    envoy, waiting = EnvoyAdmin(mesh.admin_port), 0

    async def others_are_done() -> bool:
        nonlocal waiting
        waiting = (await envoy.hosts("agent"))[mesh.envoy_port(replica)].active
        return sum(call.done() for call in calls) + waiting == len(calls)

    await until(others_are_done, "the end of the calls at other agents")
    return waiting


async def gone(*calls: "asyncio.Task[str]") -> None:
    """Their callers have left."""
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_its_streams_end_as_broken_and_are_not_run_again(
    wide_mesh: Mesh, caller: Caller, simulated: Server
) -> None:
    async with held_streams(caller, LONG, sse=EACH, grpc=EACH) as held:
        before = await begun(simulated)
        pid = kill(wide_mesh, "agent-2")
        lost = [stream for stream in held if stream.replica == "agent-2"]
        endings = {(stream.surface, await stream.ending) for stream in lost}
        assert endings == {("sse", BROKEN_SSE), ("grpc", BROKEN_GRPC)}
        await back_in_pool(wide_mesh, "agent-2", pid=pid, replicas=AGENTS)
        assert await begun(simulated) == before
        assert not [stream for stream in held if stream.replica != "agent-2" and stream.ending.done()]


async def test_its_plain_calls_end_as_broken_and_are_not_run_again(
    wide_mesh: Mesh, caller: Caller, simulated: Server
) -> None:
    before = await begun(simulated)
    rest = [asyncio.create_task(caller.rest(LONG)) for _ in range(EACH)]
    await simulated.calls_reach(concurrent=EACH)
    over_grpc = [asyncio.create_task(caller.grpc(LONG)) for _ in range(EACH)]
    await simulated.calls_reach(concurrent=2 * EACH)
    pid = kill(wide_mesh, "agent-2")
    await back_in_pool(wide_mesh, "agent-2", pid=pid, replicas=AGENTS)
    assert {await code(call) for call in rest if call.done()} == {BROKEN_REST}
    assert {await code(call) for call in over_grpc if call.done()} == {BROKEN_GRPC}
    assert await begun(simulated) == before + 2 * EACH
    await gone(*rest, *over_grpc)
    await simulated.calls_reach(concurrent=0)


async def test_calls_that_it_had_not_answered_yet_end_as_unavailable_and_are_run_at_most_once(
    wide_mesh: Mesh, caller: Caller, simulated: Server
) -> None:
    """It is stopped first, so that it is killed with calls that it has not even read."""
    before, pid = await begun(simulated), wide_mesh.pid("agent-2")
    os.kill(pid, signal.SIGSTOP)
    rest = [asyncio.create_task(caller.rest("Say it.")) for _ in range(EACH)]
    waiting_for_rest = await only_calls_of(wide_mesh, "agent-2", rest)
    over_grpc = [asyncio.create_task(caller.grpc("Say it.")) for _ in range(EACH)]
    waiting = await only_calls_of(wide_mesh, "agent-2", [*rest, *over_grpc])
    os.kill(pid, signal.SIGKILL)
    assert 0 < waiting_for_rest < waiting
    assert {await code(call) for call in rest} == {WHOLE, "503"}
    assert {await code(call) for call in over_grpc} == {WHOLE, "UNAVAILABLE"}
    assert await begun(simulated) == before + 2 * EACH - waiting
    await back_in_pool(wide_mesh, "agent-2", pid=pid, replicas=AGENTS)


async def test_others_do_not_notice_and_it_serves_again(
    wide_mesh: Mesh, caller: Caller, bystanders: BystandersOf
) -> None:
    async with bystanders(wide_mesh) as others:
        await others.quiet()
        pid = kill(wide_mesh, "agent-2")
        await others.during("an agent is killed", spared="agent-2")
    await back_in_pool(wide_mesh, "agent-2", pid=pid, replicas=AGENTS)
    await all_agents_take_turns(caller)
    assert "agent-2        ended with signal SIGKILL" in wide_mesh.output()


async def test_what_it_had_reserved_comes_back(wide_mesh: Mesh) -> None:
    body = {"task": LONG, "max_tokens": RESERVED, "stream": True, "cache": {"mode": "bypass"}}
    key = await asyncio.to_thread(wide_mesh.create_key, tenant="metered", tier="basic")
    async with aiohttp.ClientSession(wide_mesh.url, headers={"X-API-Key": key}) as session:

        async def gets_in() -> bool:
            async with session.post("/api/v1/task", json=body) as answer:
                assert answer.status in (200, 429)
                return answer.status == 200

        async with session.post("/api/v1/task", json=body) as running:
            assert running.status == 200
            victim = running.headers["x-shoal-replica"]
            assert not await gets_in()
            pid = kill(wide_mesh, victim)
            assert BROKEN_SSE.encode() in await running.read()
            await until(gets_in, "the return of the tokens")
    await back_in_pool(wide_mesh, victim, pid=pid, replicas=AGENTS)

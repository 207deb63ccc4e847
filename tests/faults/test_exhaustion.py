"""No more files, memory or processor time for one process: what runs goes on, and all is well once there is some again.

What the kernel does to a process that takes too much memory is to kill it: see the tests of killed processes.
"""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import grpc
import psutil
import pytest

from tests.faults.bystanders import BystandersOf
from tests.faults.callers import Caller, caller_of
from tests.faults.held_streams import WHOLE, held_streams
from tests.faults.pools import healthy
from tests.faults.raw_http2 import front_port
from tests.faults.waiting import until
from tests.integration.front_door import FrontDoor, front_door, get, on_free_ports, stat, until_stat
from tests.mesh import Mesh

AGENTS = 3
EACH = 2 * AGENTS
"""Calls of one surface, of which some are at each agent, for they take turns."""
LONG = "Tell it. [[tokens=100]] [[tokens_per_second=20]]"
SPARE_FILES = 5
WAITING = 3
"""Connections that there are no files for any more."""
HEALTH = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"

HEAP_BYTES = 48 << 20
LARGE_HEADERS = [(f"x-large-{number}", "x" * 7000) for number in range(4)]
"""A request that has these and waits takes about 116 KB of Envoy's memory, a quarter of a percent."""
MANY, FEW = 30, 8
"""Requests between two looks: far from the first action, and near it."""
NEAR_PERCENT = 70
ACTIONS = {
    "shrink_heap": "active",
    "reduce_timeouts": "scale_percent",
    "reset_high_memory_stream": "scale_percent",
    "stop_accepting_requests": "active",
}
"""What Envoy does about its memory, in this order, and the number that tells of it."""
OVERLOAD = "overload.envoy"
PRESSURE = f"{OVERLOAD}.resource_monitors.fixed_heap.pressure"


@pytest.fixture
async def caller(wide_mesh: Mesh) -> AsyncIterator[Caller]:
    key = await asyncio.to_thread(wide_mesh.create_key, tenant="busy", tier="bench")
    async with caller_of(wide_mesh, key) as caller:
        yield caller


@contextmanager
def out_of_files(mesh: Mesh, process: str, port: int) -> Iterator[socket.socket]:
    """A process that has as many files open as it may, most of them connections of a stranger's; the last of these,
    which is not accepted yet. In the end the others are closed."""
    limited = psutil.Process(mesh.pid(process))
    before, strangers = limited.rlimit(resource.RLIMIT_NOFILE), list[socket.socket]()
    most = limited.num_fds() + SPARE_FILES
    limited.rlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        while limited.num_fds() < most or len(strangers) < SPARE_FILES + WAITING:
            strangers.append(socket.create_connection(("127.0.0.1", port), timeout=30))
        yield strangers.pop()
    finally:
        for stranger in strangers:
            stranger.close()
        limited.rlimit(resource.RLIMIT_NOFILE, before)


async def test_an_envoy_without_files_keeps_its_streams_and_takes_connections_later(
    wide_mesh: Mesh, caller: Caller, bystanders: BystandersOf
) -> None:
    async with bystanders(wide_mesh) as others:
        await others.quiet()
        pid = wide_mesh.pid("envoy")
        async with held_streams(caller, LONG, sse=EACH, grpc=EACH) as held:
            with out_of_files(wide_mesh, "envoy", front_port(wide_mesh)) as waiting, waiting:
                waiting.sendall(HEALTH)
                assert {await stream.ending for stream in held} == {WHOLE}
        assert wide_mesh.pid("envoy") == pid
        await others.during("Envoy has no files left")


async def test_who_waited_for_an_envoy_without_files_is_answered(wide_mesh: Mesh) -> None:
    with out_of_files(wide_mesh, "envoy", front_port(wide_mesh)) as waiting:
        waiting.sendall(HEALTH)
    with waiting:
        assert (await asyncio.to_thread(waiting.recv, 65536)).startswith(b"HTTP/1.1 200")


async def test_an_agent_without_files_keeps_its_streams_and_begins_nothing(
    wide_mesh: Mesh, caller: Caller, bystanders: BystandersOf
) -> None:
    """It cannot reach its model, and says so. Plain calls Envoy makes again at another agent, as many as it may; new
    streams have begun by then, and break. Calls for which Envoy opens a connection to it wait until it accepts that."""
    async with bystanders(wide_mesh) as others:
        await others.quiet()
        pid = wide_mesh.pid("agent-2")
        async with held_streams(caller, LONG, sse=EACH, grpc=EACH) as held:
            assert "agent-2" in {stream.replica for stream in held}
            with out_of_files(wide_mesh, "agent-2", wide_mesh.envoy_port("agent-2")) as waiting, waiting:
                calls = [asyncio.create_task(ask("Say it.")) for ask in (caller.rest, caller.grpc) for _ in range(EACH)]
                assert {await stream.ending for stream in held} == {WHOLE}
        failed = [end for end in await asyncio.gather(*calls, return_exceptions=True) if not isinstance(end, str)]
        assert all(map(is_unavailable, failed)), failed
        assert wide_mesh.pid("agent-2") == pid
        await others.during("an agent has no files left", spared="agent-2")


def is_unavailable(error: BaseException) -> bool:
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status == 503
    return isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.UNAVAILABLE


async def test_an_agent_without_processor_time_is_left_out_until_it_has_some(
    wide_mesh: Mesh, caller: Caller, bystanders: BystandersOf
) -> None:
    async def are_healthy(agents: int) -> None:
        async def they_are() -> bool:
            return await healthy(wide_mesh, "agent") == agents

        await until(they_are, f"a pool of {agents}")

    async with bystanders(wide_mesh) as others:
        await others.quiet()
        pid = wide_mesh.pid("agent-2")
        with wide_mesh.stopped("agent-2"):
            await are_healthy(AGENTS - 1)
            async with held_streams(caller, "Say it.", sse=EACH, grpc=EACH) as held:
                assert {stream.replica for stream in held} == {"agent-1", "agent-3"}
        await are_healthy(AGENTS)
        await others.during("an agent stands still for a while")
    assert wide_mesh.pid("agent-2") == pid


@asynccontextmanager
async def large_requests() -> AsyncIterator["LargeRequests"]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        requests = LargeRequests(session)
        try:
            yield requests
        finally:
            await requests.leave()


class LargeRequests:
    """Requests that take much memory and wait. Each comes from an address of its own, so that they are no flood."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._held: list[asyncio.Task[None]] = []

    async def hold(self, door: FrontDoor, count: int) -> None:
        """So many more. Returns when they are at the gateway, and Envoy has looked at its memory since."""
        pressure = await stat(door, PRESSURE)
        self._held += [asyncio.create_task(self._wait(door, len(self._held) + number)) for number in range(count)]
        await until_stat(door, "cluster.gateway.upstream_rq_active", len(self._held))

        async def has_looked() -> bool:
            return await stat(door, PRESSURE) > pressure

        await until(has_looked, "a look at the memory")

    async def leave(self) -> None:
        for request in self._held:
            request.cancel()
        await asyncio.gather(*self._held, return_exceptions=True)

    async def _wait(self, door: FrontDoor, number: int) -> None:
        address = ("x-forwarded-for", f"10.0.{number // 250}.{number % 250}")
        await self._session.get(f"{door.url}/api/v1/held", headers=[address, *LARGE_HEADERS])


async def acting(door: FrontDoor) -> set[str]:
    """What Envoy does about its memory now."""
    numbers = {
        action: await stat(door, f"{OVERLOAD}.overload_actions.{action}.{kind}") for action, kind in ACTIONS.items()
    }
    return {action for action, number in numbers.items() if number}


async def test_an_envoy_without_memory_acts_in_order_refuses_requests_and_recovers(tmp_path: Path) -> None:
    topology = replace(on_free_ports(tmp_path), max_heap_bytes=HEAP_BYTES)
    seen: list[set[str]] = []
    async with front_door(topology) as door, large_requests() as requests:
        while "stop_accepting_requests" not in await acting(door):
            await requests.hold(door, MANY if await stat(door, PRESSURE) < NEAR_PERCENT else FEW)
            if (now := await acting(door)) not in seen:
                seen.append(now)
        in_order = list(ACTIONS)
        assert seen == [set(in_order[:count]) for count in range(len(ACTIONS) + 1)]
        status, _, body = await get(door, "/health")
        assert (status, body["reason"]) == (503, "SERVICE_UNAVAILABLE")
        await requests.leave()
        await until_stat(door, f"{OVERLOAD}.overload_actions.stop_accepting_requests.active", 0)
        assert (await get(door, "/health"))[0] == 200

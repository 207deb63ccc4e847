"""What a real Envoy does about requests that are too large or too slow, and about a pool that mostly fails."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import grpc
import grpc.aio
import pytest
import pytest_asyncio

from envoyconf.filters import MOST_BODY_BYTES
from envoyconf.topology import LOOPBACK
from meshkit.errors import Reason
from meshkit.status import from_rpc_error
from tests.integration.front_door import (
    PATIENCE_SECONDS,
    FrontDoor,
    front_door,
    get,
    held_streams,
    logged,
    method,
    on_free_ports,
    refused,
    replica_of,
    stat,
    until_stat,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXECUTE = "/shoal.agent.v1.AgentService/Execute"
MANY = 300
REJECTED = "cluster.agent.admission_control.rq_rejected"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FrontDoor]:
    """An impatient one."""
    topology = on_free_ports(tmp_path_factory.mktemp("envoy"))
    async with front_door(replace(topology, idle_seconds=0.5, slow_client_seconds=1)) as running:
        yield running


async def pieces(total: int) -> AsyncIterator[bytes]:
    """A body in chunks."""
    for _ in range(total >> 16):
        yield b"x" * (1 << 16)


async def test_a_body_that_is_declared_too_long_is_refused_unread(door: FrontDoor) -> None:
    head = (b"POST /api/v1/task HTTP/1.1", b"host: shoal", b"content-length: %d" % (1 << 30), b"", b"{")
    answer = await exchanged(door, *head)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"REQUEST_TOO_LARGE" in answer


async def test_a_body_that_becomes_too_long_is_refused(door: FrontDoor) -> None:
    async with door.http.post(f"{door.url}/api/v1/held", data=pieces(2 * MOST_BODY_BYTES)) as reply:
        assert (reply.status, (await reply.json())["reason"]) == (413, "REQUEST_TOO_LARGE")


async def test_a_message_that_is_too_long_even_for_envoy_is_refused_as_grpc_does(door: FrontDoor) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await method(door.front, EXECUTE)(b"x" * (MOST_BODY_BYTES + 1))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert from_rpc_error(caught.value).reason is Reason.REQUEST_TOO_LARGE


@pytest.mark.parametrize("more", ["?x=1", "?%C3%A9", ";x", "%20"])
async def test_a_method_whose_path_says_more_than_its_name_reaches_no_agent(door: FrontDoor, more: str) -> None:
    before = len(door.arrived)
    error = await refused(door.front, EXECUTE + more)
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert len(door.arrived) == before


async def test_the_longest_body_passes(door: FrontDoor) -> None:
    async with door.http.post(f"{door.url}/health", data=pieces(MOST_BODY_BYTES)) as reply:
        assert reply.status == 200


async def test_more_than_a_hundred_headers_are_refused(door: FrontDoor) -> None:
    status, _, body = await get(door, "/health", *[(f"x-{number}", "y") for number in range(101)])
    assert (status, body["reason"]) == (431, "REQUEST_TOO_LARGE")


async def exchanged(door: FrontDoor, *sent: bytes) -> bytes:
    """All that comes back over one connection until Envoy closes it."""
    reader, writer = await asyncio.open_connection(LOOPBACK, door.topology.envoy.front)
    writer.write(b"\r\n".join(sent))
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_headers_that_do_not_end_close_the_connection(door: FrontDoor) -> None:
    answer = await exchanged(door, b"GET /health HTTP/1.1", b"host: shoal", b"x-slow: ")
    assert answer.startswith(b"HTTP/1.1 408")


async def test_a_body_that_trickles_is_given_up(door: FrontDoor) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, door.topology.envoy.front)
    writer.write(b"POST /api/v1/held HTTP/1.1\r\nhost: shoal\r\ncontent-length: 1000000\r\n\r\n")
    answer = asyncio.create_task(reader.readline())
    while not answer.done():
        writer.write(b"x")
        await asyncio.wait([answer], timeout=0.1)
    assert (await answer).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_a_request_about_which_nothing_is_heard_ends_as_too_late(door: FrontDoor) -> None:
    status, _, body = await get(door, "/api/v1/held")
    assert (status, body["code"], body["reason"]) == (504, "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


async def test_the_access_log_says_who_served_from_which_cache_under_which_limit(door: FrontDoor) -> None:
    async with held_streams(door.front, EXECUTE, 1) as [(name, _)]:
        pass
    line = await logged(door, lambda entry: entry["cache"] is not None)
    assert (line["cache"], line["replica"], line["limit"]) == ("miss", name, '"free";r=9;t=1')


@pytest_asyncio.fixture(loop_scope="module")
async def fresh_door(tmp_path: Path) -> AsyncIterator[FrontDoor]:
    """One whose admission control has seen nothing yet."""
    async with front_door(on_free_ports(tmp_path)) as running:
        yield running


async def codes(door: FrontDoor, calls: int, status: str, *, at_once: int = 10) -> Counter[str]:
    """How the calls ended, if every agent answers with that status. Refusals by Envoy count as REPLICA_BUSY."""
    ends: Counter[str] = Counter()
    for _ in range(calls // at_once):
        ends.update(await asyncio.gather(*[ending(door, status) for _ in range(at_once)]))
    return ends


async def ending(door: FrontDoor, status: str) -> str:
    if status == "OK":
        return "OK" if await replica_of(door.inner, EXECUTE) else ""
    error = await refused(door.inner, EXECUTE, ("x-status", status))
    is_envoy = from_rpc_error(error).reason is Reason.REPLICA_BUSY
    return "REPLICA_BUSY" if is_envoy else error.code().name


@pytest.mark.parametrize("status", ["RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED", "UNAUTHENTICATED"])
async def test_what_strangers_can_provoke_sheds_nobody(fresh_door: FrontDoor, status: str) -> None:
    assert await codes(fresh_door, MANY, status) == {status: MANY}
    assert await stat(fresh_door, REJECTED) == 0


async def test_callers_who_hang_up_shed_nobody(fresh_door: FrontDoor) -> None:
    for _ in range(MANY // 50):
        async with held_streams(fresh_door.inner, EXECUTE, 50):
            pass
    assert await codes(fresh_door, 100, "OK") == {"OK": 100}


async def test_one_of_two_replicas_that_refuses_sheds_nobody(tmp_path: Path) -> None:
    topology = on_free_ports(tmp_path)
    async with front_door(replace(topology, agent=replace(topology.agent, replicas=2))) as door:
        door.agents[0].draining = True
        # One after the other, since few calls may be made again at once.
        assert await codes(door, MANY, "OK", at_once=1) == {"OK": MANY}


async def test_a_pool_that_only_fails_is_spared_and_comes_back_by_itself(fresh_door: FrontDoor) -> None:
    door = fresh_door
    async with asyncio.timeout(30):
        while await stat(door, REJECTED) == 0:
            ends = await codes(door, 50, "UNAVAILABLE")
        assert ends.keys() <= {"UNAVAILABLE", "REPLICA_BUSY"}
        # Some calls pass all the time; with the failures forgotten, all do.
        passed = 0
        while passed < 50:
            passed = sum(await asyncio.gather(*[answers(door) for _ in range(50)]))


async def answers(door: FrontDoor) -> bool:
    try:
        return bool(await replica_of(door.inner, EXECUTE))
    except grpc.aio.AioRpcError:
        return False


async def until_turned_away(door: FrontDoor) -> None:
    """Until a connection that was made is closed without an answer. The thread that serves learns of the overload a
    moment after the number that tells of it; what the client sees of the close says which of them was faster."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await get(door, "/health")
            except aiohttp.ClientConnectorError:
                raise
            except aiohttp.ClientConnectionError:
                return


async def test_without_memory_envoy_turns_callers_away_and_stays(tmp_path: Path) -> None:
    async with front_door(replace(on_free_ports(tmp_path), max_heap_bytes=1)) as door:
        await until_stat(door, "overload.envoy.overload_actions.stop_accepting_requests.active", 1)
        await until_turned_away(door)
        assert (await refused(door.front, EXECUTE)).code() is grpc.StatusCode.UNAVAILABLE
        assert await stat(door, "server.live") == 1

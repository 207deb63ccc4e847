"""Deadlines through a real Envoy, whose router writes its own into grpc-timeout: servers know what the caller said."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from envoyconf.topology import Topology
from meshkit import call
from meshkit.channel import open_channel
from meshkit.errors import Reason
from meshkit.http1.server import listening
from meshkit.http1.server_connection import Terms
from shoal.agent.v1 import agent_pb2 as pb
from tests.backends import wait_until
from tests.integration.front_door import on_free_ports, running_envoy
from tests.integration.meshkit.guarded_server import (
    EXECUTE,
    LONGEST_SECONDS,
    TIMEOUT_SECONDS,
    GuardedServer,
    Responses,
    Transport,
    guarded_server,
    to_its_end,
    until_answered,
)
from tests.integration.upstreams import ScriptedLimiter, grpc_server, limiting
from tests.mesh_identity import signed
from tests.refusal import refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")

LISTENERS = ["front", "inner"]


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Topology:
    return on_free_ports(tmp_path_factory.mktemp("front"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def behind_envoy(topology: Topology) -> AsyncIterator[GuardedServer]:
    """An agent, and a limiter that lets everybody pass; Envoy has found both."""
    ((_, identity),) = signed()
    limiter = limiting(ScriptedLimiter(identity=identity))
    async with (
        guarded_server(Transport.HTTP1) as server,
        listening(Terms([server.methods], is_serving=lambda: True), port=topology.agent.envoy_port_of(1)),
        grpc_server(topology.ratelimit_rls.envoy_port_of(1), limiter),
        running_envoy(topology),
        open_channel(f"127.0.0.1:{topology.envoy.front}") as front,
    ):
        await until_answered(lambda: granted(replace(server, channel=front)))
        yield server


@pytest_asyncio.fixture(loop_scope="module", params=LISTENERS)
async def server(
    behind_envoy: GuardedServer, topology: Topology, request: pytest.FixtureRequest
) -> AsyncIterator[GuardedServer]:
    """Called through each listener, by one who never ends a call himself unless he is told to."""
    async with open_channel(f"127.0.0.1:{port(topology, request.param)}") as channel:
        yield replace(behind_envoy, channel=channel)


def port(topology: Topology, listener: str) -> int:
    return {"front": topology.envoy.front, "inner": topology.envoy.inner}[listener]


async def granted(server: GuardedServer, *said: tuple[str, str]) -> float:
    """The seconds that a handler has for a call with these headers."""

    async def looks(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        return pb.ExecuteResponse(output=str(call.current().deadline - time.monotonic()))

    server.agent.execute = looks
    return float((await server.stub.Execute(pb.ExecuteRequest(), metadata=(*signed(), *said))).output)


@pytest.mark.parametrize("said", [[], [("x-shoal-timeout", "1H")]], ids=["alone", "beside a longer one"])
async def test_a_handler_has_no_more_time_than_its_caller_said(
    server: GuardedServer, said: list[tuple[str, str]]
) -> None:
    assert 0 < await granted(server, ("grpc-timeout", "20S"), *said) <= 20


async def test_a_handler_has_the_longest_time_if_its_caller_said_nothing(server: GuardedServer) -> None:
    assert await granted(server) > LONGEST_SECONDS / 2


@pytest.mark.parametrize("server", ["front"], indirect=True)
async def test_strangers_cannot_say_it_by_our_own_header(server: GuardedServer) -> None:
    assert await granted(server, ("x-shoal-timeout", "20S")) > LONGEST_SECONDS / 2


async def test_a_stream_is_ended_at_its_deadline_though_its_caller_stays(server: GuardedServer) -> None:
    async def waits(request: pb.ExecuteStreamRequest) -> Responses:
        yield pb.ExecuteStreamResponse(delta=pb.Delta(text="Hel"))
        await asyncio.Event().wait()

    server.agent.execute_stream = waits
    said = (*signed(), ("grpc-timeout", "1S"))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        error = await refusal(to_its_end(server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=said)))
    assert error.reason is Reason.DEADLINE_EXCEEDED
    await asyncio.to_thread(wait_until, lambda: not server.guard.running, "the end of the call")


async def test_what_a_service_has_left_its_callee_has_at_most(server: GuardedServer, topology: Topology) -> None:
    """An agent that calls on by the inner listener, as services do."""
    async with Transport.HTTP1.open(f"127.0.0.1:{topology.envoy.inner}") as inner:
        left: list[float] = []

        async def calls_on(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
            server.agent.execute = looks
            left.append(call.onward_timeout())
            onward = replace(server, channel=inner).stub
            return await onward.Execute(request, timeout=left[0], metadata=call.onward_metadata())

        async def looks(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
            left.append(call.current().deadline - time.monotonic())
            return pb.ExecuteResponse()

        server.agent.execute = calls_on
        await server.stub.Execute(pb.ExecuteRequest(), metadata=(*signed(), ("grpc-timeout", "20S")))
    assert 20 > left[0] > left[1] > 0


@pytest.mark.usefixtures("behind_envoy")
@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("said", ["grpc-timeout: soon", "grpc-timeout: 1S\r\ngrpc-timeout: 2S"], ids=["odd", "two"])
async def test_a_deadline_that_is_none_is_refused(topology: Topology, listener: str, said: str) -> None:
    ((name, value),) = signed()
    reader, writer = await asyncio.open_connection("127.0.0.1", port(topology, listener))
    writer.write(
        f"POST {EXECUTE} HTTP/1.1\r\nhost: envoy\r\ncontent-type: application/grpc\r\nte: trailers\r\n"
        f"{name}: {value}\r\n{said}\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0".encode()
    )
    async with asyncio.timeout(TIMEOUT_SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert b"\r\ngrpc-status: 13\r\n" in head

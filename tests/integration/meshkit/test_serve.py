"""The life of a server: health before calls, and a drain that cuts nothing off."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from load.measuring.ports import free_port
from meshkit import serve
from meshkit.call_guard import Handler
from meshkit.channel import open_channel
from meshkit.http1.server import listening
from meshkit.http1.server_connection import Terms
from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.backends import accepts_connections, wait_until
from tests.integration.meshkit.guarded_server import AGENT as SERVICE
from tests.integration.meshkit.guarded_server import TIMEOUT_SECONDS, Agent, Transport

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class NoGuard:
    """Lets everybody in."""

    def guarded(self, method: str, handler: Handler) -> Handler:
        return handler


class Served:
    """A started server that lets everybody in, and what is asked of it."""

    def __init__(self) -> None:
        self.agent, self.port, self.server = Agent(), free_port(), serve.new_server(NoGuard())
        self.agent.add_to(self.server)
        self.channel = open_channel(f"127.0.0.1:{self.port}")
        self.health = health_pb2_grpc.HealthStub(self.channel)
        self.stub: agent_pb2_grpc.AgentServiceAsyncStub = agent_pb2_grpc.AgentServiceStub(self.channel)

    async def start(self) -> None:
        self.servicer = await serve.start(self.server, port=self.port, services=[SERVICE])

    def drain(self, *, notice_seconds: float) -> "asyncio.Task[None]":
        return asyncio.create_task(
            serve.drain(self.server, self.servicer, notice_seconds=notice_seconds, grace_seconds=TIMEOUT_SECONDS)
        )

    def watch(self) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        return aiter(self.health.Watch(request, timeout=TIMEOUT_SECONDS))

    async def says_hello(self) -> str:
        return (await self.stub.Execute(pb.ExecuteRequest(), timeout=TIMEOUT_SECONDS)).output


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    await served.start()
    yield served
    await served.channel.close()
    await served.server.stop(None)


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_a_started_server_serves_by_name_and_as_a_whole(served: Served, service: str) -> None:
    answer = await served.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_SECONDS)
    assert answer.status == SERVING
    assert await served.says_hello() == "Hello"


@pytest.mark.parametrize("symbol", ["grpc.health.v1.Health", "grpc.health.v1.Health.Check"])
async def test_reflection_finds_services_and_methods_by_their_names(served: Served, symbol: str) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
    [answer] = [answer async for answer in stub.ServerReflectionInfo(iter([request]))]
    assert answer.file_descriptor_response.file_descriptor_proto


async def test_reflection_of_what_is_not_there_is_not_found(served: Served) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health.Nothing")
    [answer] = [answer async for answer in stub.ServerReflectionInfo(iter([request]))]
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_reflection_lists_what_is_served(served: Served) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = await anext(aiter(stub.ServerReflectionInfo(iter([request]), timeout=TIMEOUT_SECONDS)))
    assert {row.name for row in answer.list_services_response.service} == {
        SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_a_draining_server_says_so_while_it_still_takes_calls(served: Served) -> None:
    watching = served.watch()
    assert (await anext(watching)).status == SERVING
    draining = served.drain(notice_seconds=TIMEOUT_SECONDS)
    assert (await anext(watching)).status == NOT_SERVING
    assert await served.says_hello() == "Hello"
    async with open_channel(f"127.0.0.1:{served.port}") as newcomer:
        stub: agent_pb2_grpc.AgentServiceAsyncStub = agent_pb2_grpc.AgentServiceStub(newcomer)
        assert (await stub.Execute(pb.ExecuteRequest(), timeout=TIMEOUT_SECONDS)).output == "Hello"
    draining.cancel()


async def test_a_call_that_runs_when_the_server_stops_is_answered(served: Served) -> None:
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def waits(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        began.set()
        await goes_on.wait()
        return pb.ExecuteResponse(output="after all")

    served.agent.execute = waits
    running = asyncio.create_task(served.says_hello())
    await began.wait()
    draining = served.drain(notice_seconds=0)
    await asyncio.to_thread(wait_until, lambda: not accepts_connections(served.port), "the end of listening")
    assert not draining.done()
    goes_on.set()
    assert await running == "after all"
    await asyncio.wait_for(draining, TIMEOUT_SECONDS)


@pytest.fixture
async def stub(served: Served, transport: Transport) -> AsyncIterator["agent_pb2_grpc.AgentServiceAsyncStub"]:
    """Calls the server over each transport."""
    http1_port = free_port()
    ports = {Transport.GRPC: served.port, Transport.HTTP1: http1_port}
    async with (
        listening(Terms([served.server], is_serving=lambda: True), port=http1_port),
        transport.open(f"127.0.0.1:{ports[transport]}") as channel,
    ):
        yield agent_pb2_grpc.AgentServiceStub(channel)


async def test_without_a_guard_our_own_services_are_not_served() -> None:
    with pytest.raises(ValueError, match="no guard"):
        Agent().add_to(serve.new_server())


async def test_a_busy_port_is_named(served: Served) -> None:
    with pytest.raises(OSError, match=f"port {served.port} on 127.0.0.1 is busy"):
        await serve.start(serve.new_server(), port=served.port, services=[])


def of_size(size: int) -> pb.ExecuteRequest:
    """A request of so many bytes."""
    spare = pb.ExecuteRequest(task="x" * size).ByteSize() - size
    return pb.ExecuteRequest(task="x" * (size - spare))


async def test_the_largest_message_is_taken(stub: "agent_pb2_grpc.AgentServiceAsyncStub") -> None:
    largest = of_size(serve.MAX_MESSAGE_BYTES)
    assert largest.ByteSize() == serve.MAX_MESSAGE_BYTES
    assert (await stub.Execute(largest, timeout=TIMEOUT_SECONDS)).output == "Hello"


async def test_a_message_over_the_limit_is_refused_and_the_server_goes_on(
    stub: "agent_pb2_grpc.AgentServiceAsyncStub",
) -> None:
    for size in (serve.MAX_MESSAGE_BYTES + 1, 5 * serve.MAX_MESSAGE_BYTES):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Execute(of_size(size), timeout=TIMEOUT_SECONDS)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await stub.Execute(pb.ExecuteRequest(), timeout=TIMEOUT_SECONDS)).output == "Hello"


async def test_an_answer_may_be_larger_than_a_request(
    served: Served, stub: "agent_pb2_grpc.AgentServiceAsyncStub"
) -> None:
    output = "x" * 3 * serve.MAX_MESSAGE_BYTES

    async def says_a_lot(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        return pb.ExecuteResponse(output=output)

    served.agent.execute = says_a_lot
    assert (await stub.Execute(pb.ExecuteRequest(), timeout=TIMEOUT_SECONDS)).output == output


async def test_a_server_may_take_smaller_messages_only() -> None:
    agent, port, server = Agent(), free_port(), serve.new_server(NoGuard(), max_request_bytes=1000)
    agent.add_to(server)
    await serve.start(server, port=port, services=[SERVICE])
    async with open_channel(f"127.0.0.1:{port}") as channel:
        stub: agent_pb2_grpc.AgentServiceAsyncStub = agent_pb2_grpc.AgentServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Execute(pb.ExecuteRequest(task="x" * 1001), timeout=TIMEOUT_SECONDS)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await stub.Execute(pb.ExecuteRequest(task="x" * 900), timeout=TIMEOUT_SECONDS)).output == "Hello"
    await server.stop(None)


async def test_a_compressed_request_is_not_unfolded(served: Served) -> None:
    bomb = pb.ExecuteRequest(task="x" * 1_000_000)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.stub.Execute(bomb, timeout=TIMEOUT_SECONDS, compression=grpc.Compression.Gzip)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED

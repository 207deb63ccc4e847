"""Calls through a real Envoy, which makes HTTP/1.1 of them on their way to the server: nothing of them is lost."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from envoyconf.topology import Topology
from meshkit import status
from meshkit.channel import open_channel
from meshkit.errors import Reason, ShoalError
from meshkit.http1.server import listening
from meshkit.http1.server_connection import Terms
from meshkit.serve import MAX_MESSAGE_BYTES
from shoal.agent.v1 import agent_pb2 as pb
from shoal.cache.v1 import cache_pb2
from shoal.cache.v1.cache_pb2_grpc import CacheServiceStub
from tests.backends import wait_until
from tests.integration.front_door import on_free_ports, running_envoy
from tests.integration.meshkit.endless import Endless
from tests.integration.meshkit.guarded_server import (
    AGENT,
    CACHE,
    EXECUTE,
    EXECUTE_STREAM,
    TIMEOUT_SECONDS,
    Agent,
    GuardedServer,
    Responses,
    Transport,
    guarded_server,
    messages,
    to_its_end,
    until_answered,
)
from tests.mesh_identity import signed
from tests.refusal import refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Topology:
    return on_free_ports(tmp_path_factory.mktemp("front"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def behind_envoy(topology: Topology) -> AsyncIterator[GuardedServer]:
    """An agent and a cache, with little patience for slow readers."""
    async with guarded_server(Transport.HTTP1, slow_client_seconds=0.5) as server:
        terms = Terms([server.methods], is_serving=lambda: True)
        async with (
            listening(terms, port=topology.agent.envoy_port_of(1)),
            listening(terms, port=topology.cache.envoy_port_of(1)),
            running_envoy(topology),
            open_channel(f"127.0.0.1:{topology.envoy.inner}") as channel,
        ):
            await until_both_are_known(replace(server, channel=channel))
            yield server


async def until_both_are_known(server: GuardedServer) -> None:
    """Returns when Envoy has found the agent and the cache, to which it then sends all calls."""

    async def nothing() -> AsyncIterator[cache_pb2.PublishRequest]:
        return
        yield

    await until_answered(lambda: execute(server))
    await until_answered(lambda: publish(server, nothing()))


@pytest.fixture
def agent(behind_envoy: GuardedServer) -> Agent:
    """The agent behind Envoy, which does what agents do until a test tells it otherwise."""
    for name, ordinary in vars(Agent()).items():
        setattr(behind_envoy.agent, name, ordinary)
    return behind_envoy.agent


@pytest_asyncio.fixture(loop_scope="module")
async def server(
    agent: Agent, behind_envoy: GuardedServer, topology: Topology, transport: Transport
) -> AsyncIterator[GuardedServer]:
    """Called through the inner listener, over each transport."""
    behind_envoy.cache.steps.clear()
    async with transport.open(f"127.0.0.1:{topology.envoy.inner}") as channel:
        yield replace(behind_envoy, channel=channel)


async def execute(server: GuardedServer, task: str = "", *, timeout: float = TIMEOUT_SECONDS) -> str:
    request = pb.ExecuteRequest(task=task)
    return (await server.stub.Execute(request, metadata=signed(), timeout=timeout)).output


def stream(server: GuardedServer, *, timeout: float = TIMEOUT_SECONDS) -> Any:
    return server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed(), timeout=timeout)


async def publish(server: GuardedServer, requests: AsyncIterator[cache_pb2.PublishRequest]) -> bool:
    stub: Any = CacheServiceStub(server.channel)
    answer: cache_pb2.PublishResponse = await stub.Publish(requests, metadata=signed(), timeout=TIMEOUT_SECONDS)
    return answer.stored


async def ends(server: GuardedServer) -> None:
    """Returns when no call is running any more."""
    await asyncio.to_thread(wait_until, lambda: not server.guard.running, "the end of the call")


async def test_calls_of_every_form_are_answered(server: GuardedServer) -> None:
    async def steps() -> AsyncIterator[cache_pb2.PublishRequest]:
        for _ in range(300):
            yield cache_pb2.PublishRequest(end=cache_pb2.PublishEnd())

    for _ in range(3):  # on connections that are used again
        assert await execute(server) == "Hello"
        assert [response.delta.text async for response in messages(stream(server))] == ["Hel", "lo"]
        assert await publish(server, steps())
    assert len(server.cache.steps) == 900


async def test_an_error_comes_with_its_details(server: GuardedServer) -> None:
    async def refuses(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        raise ShoalError(Reason.RATE_LIMITED, "Wärten Sie.", field="task", retry_after_seconds=0.73)

    async def breaks(request: pb.ExecuteStreamRequest) -> Responses:
        yield pb.ExecuteStreamResponse(delta=pb.Delta(text="Hel"))
        raise ShoalError(Reason.RATE_LIMITED, "Wärten Sie.", field="task", retry_after_seconds=0.73)

    server.agent.execute, server.agent.execute_stream = refuses, breaks
    for refused in (execute(server), to_its_end(stream(server))):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await refused
        error = status.from_rpc_error(raised.value)
        assert (error.reason, error.message, error.field, error.retry_after_seconds) == (
            Reason.RATE_LIMITED,
            "Wärten Sie.",
            "task",
            0.73,
        )


async def test_metadata_goes_both_ways_as_it_is(server: GuardedServer) -> None:
    odd = (("x-thing-bin", b"\x00\xff,\r\n"), ("x-thing", "a, b=%"))
    server.agent.answers_with = odd
    running = server.stub.Execute(pb.ExecuteRequest(), metadata=(*signed(), *odd), timeout=TIMEOUT_SECONDS)
    await running
    assert set(odd) <= set(server.agent.metadata)
    assert set(odd) <= set(await running.initial_metadata())


async def test_a_deadline_is_kept_by_both_sides(server: GuardedServer) -> None:
    endless = Endless()
    server.agent.execute = endless.waits
    assert (await refusal(execute(server, timeout=1))).reason is Reason.DEADLINE_EXCEEDED
    await endless.stopped()
    await ends(server)


async def test_a_call_that_failed_after_it_began_is_not_made_again(server: GuardedServer) -> None:
    """Envoy asks another replica, or the same one once more, where nothing was done: here something was."""
    begun = 0

    async def begins(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        nonlocal begun
        begun += 1
        raise ShoalError(Reason.MODEL_UNAVAILABLE, "The model broke off.")

    server.agent.execute = begins
    server.agent.answers_with = (("x-shoal-replica", "agent-1"),)
    assert (await refusal(execute(server))).reason is Reason.MODEL_UNAVAILABLE
    assert begun == 1


async def test_what_an_answer_begins_with_is_sent_before_there_is_an_answer(
    agent: Agent, behind_envoy: GuardedServer, topology: Topology
) -> None:
    """So that Envoy knows that somebody works on it."""
    goes_on = asyncio.Event()

    async def waits(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        await goes_on.wait()
        return pb.ExecuteResponse(output="after all")

    agent.execute = waits
    agent.answers_with = (("x-shoal-replica", "agent-1"),)
    ((name, value),) = signed()
    reader, writer = await asyncio.open_connection("127.0.0.1", topology.envoy.inner)
    writer.write(
        f"POST {EXECUTE} HTTP/1.1\r\nhost: envoy\r\ncontent-type: application/grpc\r\nte: trailers\r\n"
        f"{name}: {value}\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0".encode()
    )
    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert b"\r\nx-shoal-replica: agent-1\r\n" in await reader.readuntil(b"\r\n\r\n")
        goes_on.set()
        await reader.readuntil(b"after all")
    writer.close()


async def test_a_stream_that_is_cancelled_stops(server: GuardedServer) -> None:
    endless = Endless()
    server.agent.execute_stream = endless.streams
    running = stream(server)
    await running.read()
    running.cancel()
    await endless.stopped()
    await ends(server)


async def test_a_reader_that_stops_stops_its_writer_and_its_call_ends(server: GuardedServer) -> None:
    async def floods(request: pb.ExecuteStreamRequest) -> Responses:
        while True:
            yield pb.ExecuteStreamResponse(delta=pb.Delta(text="x" * 100_000))

    server.agent.execute_stream = floods
    before = server.counted(EXECUTE_STREAM, "DEADLINE_EXCEEDED")
    running = stream(server)
    await running.read()
    await ends(server)
    assert server.counted(EXECUTE_STREAM, "DEADLINE_EXCEEDED") == before + 1
    # Whoever reads on after all is told what happened.
    assert (await refusal(to_its_end(running))).reason is Reason.DEADLINE_EXCEEDED
    assert await execute(server) == "Hello"


async def test_the_largest_message_passes_and_a_larger_one_is_refused(server: GuardedServer) -> None:
    assert await execute(server, "x" * (MAX_MESSAGE_BYTES - 100)) == "Hello"
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await execute(server, "x" * (MAX_MESSAGE_BYTES + 1))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await execute(server) == "Hello"


async def test_strangers_may_ask_for_health(behind_envoy: GuardedServer, topology: Topology) -> None:
    async with open_channel(f"127.0.0.1:{topology.envoy.front}") as front:
        health = health_pb2_grpc.HealthStub(front)
        answer = await health.Check(health_pb2.HealthCheckRequest(service=AGENT), timeout=TIMEOUT_SECONDS)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_is_a_conversation(behind_envoy: GuardedServer, topology: Topology) -> None:
    """Each question follows the answer to the one before, on one stream."""
    async with open_channel(f"127.0.0.1:{topology.envoy.front}") as front:
        stub = reflection_pb2_grpc.ServerReflectionStub(front)
        asking = stub.ServerReflectionInfo(timeout=TIMEOUT_SECONDS)
        await asking.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = await asking.read()
        assert {AGENT, CACHE} <= {row.name for row in listed.list_services_response.service}
        await asking.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=AGENT))
        assert (await asking.read()).file_descriptor_response.file_descriptor_proto
        await asking.done_writing()
        assert await asking.read() is grpc.aio.EOF
        assert await asking.code() is grpc.StatusCode.OK

"""Streams of any size, both ways: all of it arrives, nobody runs ahead of whoever reads, and the next call is made."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from meshkit.errors import Reason, ShoalError
from meshkit.serve import MAX_MESSAGE_BYTES
from shoal.agent.v1 import agent_pb2 as pb
from shoal.cache.v1 import cache_pb2
from shoal.cache.v1.cache_pb2_grpc import CacheServiceStub
from tests.backends import wait_until
from tests.integration.meshkit.guarded_server import (
    EXECUTE_STREAM,
    TIMEOUT_SECONDS,
    GuardedServer,
    Responses,
    Transport,
    guarded_server,
    messages,
)
from tests.mesh_identity import signed
from tests.refusal import refusal

MANY = 1000
PART = 100_000
MOST_AHEAD = {Transport.GRPC: 8 << 20, Transport.HTTP1: 3 << 20}
"""Bytes of an answer that may lie between its two ends: in their buffers, and the kernel's."""
MOST_AHEAD_OF_SERVER = 32 << 20
"""The same of a caller's stream. Most of it is with the kernel, which gives a lot to whoever sends a lot."""


def end() -> cache_pb2.PublishRequest:
    return cache_pb2.PublishRequest(end=cache_pb2.PublishEnd())


def part(size: int) -> cache_pb2.PublishRequest:
    return cache_pb2.PublishRequest(append=cache_pb2.PublishAppend(events=[b"x" * size]))


async def said(server: GuardedServer) -> str:
    """The answer to one more call on the same channel."""
    return (await server.stub.Execute(pb.ExecuteRequest(), metadata=signed(), timeout=TIMEOUT_SECONDS)).output


async def publish(
    server: GuardedServer,
    requests: AsyncIterator[cache_pb2.PublishRequest] | Iterator[cache_pb2.PublishRequest],
    *,
    timeout: float = TIMEOUT_SECONDS,
) -> cache_pb2.PublishResponse:
    stub: Any = CacheServiceStub(server.channel)
    response: cache_pb2.PublishResponse = await stub.Publish(requests, metadata=signed(), timeout=timeout)
    return response


async def ends(server: GuardedServer) -> None:
    """Returns when no call is running any more."""
    await asyncio.to_thread(wait_until, lambda: not server.guard.running, "the end of the call")


async def test_many_messages_arrive_in_their_order_and_then_another_call_is_made(server: GuardedServer) -> None:
    async def counts(request: pb.ExecuteStreamRequest) -> Responses:
        for number in range(MANY):
            yield pb.ExecuteStreamResponse(delta=pb.Delta(text=str(number)))

    server.agent.execute_stream = counts
    running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed(), timeout=TIMEOUT_SECONDS)
    assert [response.delta.text async for response in messages(running)] == [str(number) for number in range(MANY)]
    assert await said(server) == "Hello"


async def test_a_server_reads_a_long_stream_to_its_end_and_then_takes_another_call(server: GuardedServer) -> None:
    async def many() -> AsyncIterator[cache_pb2.PublishRequest]:
        for _ in range(MANY):
            yield part(1)
        yield end()

    assert (await publish(server, many())).stored
    assert server.cache.steps == ["append"] * MANY + ["end"]
    assert await said(server) == "Hello"


async def test_what_is_at_hand_arrives_message_by_message_all_the_same(server: GuardedServer) -> None:
    assert (await publish(server, iter((part(1), part(100_000), end())))).stored
    assert server.cache.steps == ["append", "append", "end"]
    assert await said(server) == "Hello"


async def test_a_server_may_refuse_what_is_at_hand_before_it_has_read_it(server: GuardedServer) -> None:
    server.cache.refuses = ShoalError(Reason.MALFORMED_REQUEST, "No.")
    assert (await refusal(publish(server, (part(PART) for _ in range(100))))).reason is Reason.MALFORMED_REQUEST
    assert len(server.cache.steps) == 1
    assert await said(server) == "Hello"


async def test_a_reader_that_stops_stops_its_writer(transport: Transport) -> None:
    written = 0

    async def floods(request: pb.ExecuteStreamRequest) -> Responses:
        nonlocal written
        while True:
            yield pb.ExecuteStreamResponse(delta=pb.Delta(text="x" * PART))
            written += PART

    async with guarded_server(transport, slow_client_seconds=0.5) as server:
        server.agent.execute_stream = floods
        running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed(), timeout=TIMEOUT_SECONDS)
        await running.read()
        await server.counts(EXECUTE_STREAM, "DEADLINE_EXCEEDED")
        assert written < MOST_AHEAD[transport]
        running.cancel()


async def test_a_server_that_reads_no_more_stops_its_caller(server: GuardedServer) -> None:
    written = 0

    async def floods() -> AsyncIterator[cache_pb2.PublishRequest]:
        nonlocal written
        while True:
            yield part(PART)
            written += PART

    server.cache.goes_on.clear()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await publish(server, floods(), timeout=0.5)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert written < MOST_AHEAD_OF_SERVER
    await ends(server)
    assert await said(server) == "Hello"


# The client of grpc.aio may say "Internal error from Core" instead, if it is writing as it hears the answer.
@pytest.mark.parametrize("transport", [Transport.HTTP1], indirect=True)
async def test_a_server_that_has_read_enough_says_so_at_once(server: GuardedServer) -> None:
    all_read = asyncio.Event()

    async def goes_on() -> AsyncIterator[cache_pb2.PublishRequest]:
        for _ in range(MANY):
            yield part(1)
        await all_read.wait()

    server.cache.refuses = ShoalError(Reason.MODEL_UNKNOWN, "Enough.", field="model")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await publish(server, goes_on())
    assert raised.value.details() == "Enough."
    await ends(server)
    assert await said(server) == "Hello"


async def test_a_message_of_a_stream_that_is_too_large_ends_its_call(server: GuardedServer) -> None:
    async def grows() -> AsyncIterator[cache_pb2.PublishRequest]:
        yield part(1)
        yield part(MAX_MESSAGE_BYTES)
        await asyncio.Event().wait()

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await publish(server, grows())
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await ends(server)
    assert await said(server) == "Hello"


async def test_a_stream_whose_caller_leaves_in_the_middle_is_not_waited_for(server: GuardedServer) -> None:
    begun = asyncio.Event()

    async def goes_on() -> AsyncIterator[cache_pb2.PublishRequest]:
        yield part(1)
        begun.set()
        await asyncio.Event().wait()

    publishing = asyncio.create_task(publish(server, goes_on()))
    await begun.wait()
    await asyncio.to_thread(wait_until, lambda: server.cache.steps == ["append"], "the beginning of the call")
    publishing.cancel()
    await ends(server)

"""The guard around every RPC, on a real server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from meshkit import call, status
from meshkit.call import Call
from meshkit.errors import MESSAGE_MAX_CHARACTERS, Reason, ShoalError
from shoal.agent.v1 import agent_pb2 as pb
from shoal.cache.v1 import cache_pb2
from tests.integration.meshkit.guarded_server import (
    EXECUTE,
    EXECUTE_STREAM,
    PUBLISH,
    TIMEOUT_SECONDS,
    GuardedServer,
    Responses,
    messages,
)
from tests.mesh_identity import FORGER, Metadata, signed
from tests.refusal import refusal

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def execute(server: GuardedServer, metadata: Metadata) -> pb.ExecuteResponse:
    return await server.stub.Execute(pb.ExecuteRequest(), metadata=metadata, timeout=TIMEOUT_SECONDS)


async def stream(server: GuardedServer, metadata: Metadata) -> list[str]:
    running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=metadata, timeout=TIMEOUT_SECONDS)
    return [response.delta.text async for response in messages(running)]


async def publish(server: GuardedServer, metadata: Metadata, *steps: bytes) -> bytes:
    async def requests() -> AsyncIterator[bytes]:
        for step in steps:
            yield step

    method: Any = server.channel.stream_unary(PUBLISH, bytes, bytes)
    answer: bytes = await method(requests(), metadata=metadata, timeout=TIMEOUT_SECONDS)
    return answer


async def send_bytes(server: GuardedServer, method: str, request: bytes) -> bytes:
    """Calls a method with bytes that need not be a message, and takes the first answer."""
    if method == PUBLISH:
        return await publish(server, signed(), request)
    if method == EXECUTE:
        unary: Any = server.channel.unary_unary(method, bytes, bytes)
        answer: bytes = await unary(request, metadata=signed(), timeout=TIMEOUT_SECONDS)
        return answer
    streamed: Any = server.channel.unary_stream(method, bytes, bytes)
    first: bytes = await streamed(request, metadata=signed(), timeout=TIMEOUT_SECONDS).read()
    return first


async def test_a_signed_call_is_answered_whatever_its_form(server: GuardedServer) -> None:
    step = cache_pb2.PublishRequest(end=cache_pb2.PublishEnd()).SerializeToString()
    assert (await execute(server, signed())).output == "Hello"
    assert await stream(server, signed()) == ["Hel", "lo"]
    assert await publish(server, signed(), step, step)
    assert server.cache.steps == ["end", "end"]
    for method in (EXECUTE, EXECUTE_STREAM, PUBLISH):
        await server.counts(method, "OK")


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        signed() + signed("rival"),
        signed(signer=FORGER),
        signed(lifetime_seconds=-1),
        (("x-shoal-identity", "no identity"),),
        (("x-shoal-identity", ""),),
    ],
    ids=["none", "two", "forged", "expired", "garbage", "empty"],
)
async def test_a_call_without_one_good_identity_is_refused_before_anything_is_done(
    server: GuardedServer, metadata: Metadata
) -> None:
    async def never(request: object) -> pb.ExecuteResponse:
        raise AssertionError("the handler was reached")

    server.agent.execute = never
    for answer in (execute(server, metadata), stream(server, metadata), publish(server, metadata)):
        assert (await refusal(answer)).reason is Reason.IDENTITY_INVALID
    for method in (EXECUTE, EXECUTE_STREAM, PUBLISH):
        await server.counts(method, "UNAUTHENTICATED")


@pytest.mark.parametrize("method", [EXECUTE, EXECUTE_STREAM, PUBLISH])
@pytest.mark.parametrize(
    "request_bytes", [b"\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe"], ids=["garbage", "cut", "bad UTF-8"]
)
async def test_bytes_that_are_no_message_are_the_callers_error(
    server: GuardedServer, method: str, request_bytes: bytes
) -> None:
    error = await refusal(send_bytes(server, method, request_bytes))
    assert (error.reason, error.field) == (Reason.MALFORMED_REQUEST, "request")
    await server.counts(method, "INVALID_ARGUMENT")


async def test_what_a_handler_raises_reaches_the_caller_unchanged(server: GuardedServer) -> None:
    async def refuses(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        raise ShoalError(Reason.RATE_LIMITED, "Wärten Sie.", field="task", retry_after_seconds=0.73)

    server.agent.execute = refuses
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await execute(server, signed())
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(raised.value.trailing_metadata())["grpc-retry-pushback-ms"] == "730"
    error = status.from_rpc_error(raised.value)
    assert (error.reason, error.message, error.field, error.retry_after_seconds) == (
        Reason.RATE_LIMITED,
        "Wärten Sie.",
        "task",
        0.73,
    )


async def test_the_longest_message_fits_on_the_wire(server: GuardedServer) -> None:
    async def refuses(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        raise ShoalError(Reason.MODEL_UNKNOWN, "\U0001f41f" * 100_000, field="model")

    server.agent.execute = refuses
    error = await refusal(execute(server, signed()))
    assert (error.reason, len(error.message)) == (Reason.MODEL_UNKNOWN, MESSAGE_MAX_CHARACTERS)


async def test_a_fault_of_ours_tells_nothing_of_its_inside(server: GuardedServer) -> None:
    async def breaks(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        raise KeyError("inner text")

    server.agent.execute = breaks
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await execute(server, signed())
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert "inner text" not in repr(raised.value)
    assert "inner text" not in repr(raised.value.trailing_metadata())
    await server.counts(EXECUTE, "INTERNAL")


async def test_a_stream_that_fails_half_way_sends_what_it_had_and_then_the_error(server: GuardedServer) -> None:
    async def breaks(request: pb.ExecuteStreamRequest) -> Responses:
        yield pb.ExecuteStreamResponse(delta=pb.Delta(text="Hel"))
        raise ShoalError(Reason.MODEL_UNAVAILABLE, "The model broke off.")

    server.agent.execute_stream = breaks
    running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed(), timeout=TIMEOUT_SECONDS)
    assert await running.read() == pb.ExecuteStreamResponse(delta=pb.Delta(text="Hel"))
    assert (await refusal(running.read())).reason is Reason.MODEL_UNAVAILABLE


async def test_a_handler_knows_who_calls_under_which_id_and_until_when(server: GuardedServer) -> None:
    seen: list[Call] = []
    onward: list[Metadata] = []

    async def looks(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        seen.append(call.current())
        onward.append(call.onward_metadata())
        # Less than the longest; gRPC rounds what the caller granted up a little.
        assert 0 < call.onward_timeout() < 2 * TIMEOUT_SECONDS
        return pb.ExecuteResponse()

    server.agent.execute = looks
    [identity] = signed()
    await execute(server, (identity, ("x-request-id", "request-1"), ("traceparent", TRACEPARENT)))
    assert (seen[0].identity.tenant, seen[0].request_id) == ("acme", "request-1")
    assert onward == [(identity, ("x-request-id", "request-1"), ("traceparent", TRACEPARENT))]
    await execute(server, (identity,))
    assert seen[1].request_id not in ("", "request-1")


async def test_metadata_goes_both_ways_as_it_is(server: GuardedServer) -> None:
    odd = (("x-thing-bin", b"\x00\xff,\r\n"), ("x-nothing-bin", b""), ("x-twice", "a, b"), ("x-twice", "c=%"))
    server.agent.answers_with = odd
    running = server.stub.Execute(pb.ExecuteRequest(), metadata=(*signed(), *odd), timeout=TIMEOUT_SECONDS)
    await running
    assert [pair for pair in server.agent.metadata if pair in odd] == list(odd)
    assert [pair for pair in await running.initial_metadata() if pair in odd] == list(odd)


async def test_a_stream_says_what_it_begins_with_before_it_ends(server: GuardedServer) -> None:
    async def waits(request: pb.ExecuteStreamRequest) -> Responses:
        yield pb.ExecuteStreamResponse(delta=pb.Delta(text="Hel"))
        await asyncio.Event().wait()

    server.agent.execute_stream = waits
    server.agent.answers_with = (("x-shoal-cache", "miss"),)
    running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed(), timeout=TIMEOUT_SECONDS)
    await running.read()
    assert dict(await running.initial_metadata())["x-shoal-cache"] == "miss"
    running.cancel()


async def test_calls_at_the_same_time_do_not_see_each_other(server: GuardedServer) -> None:
    all_began = asyncio.Barrier(3)

    async def looks(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        await all_began.wait()
        return pb.ExecuteResponse(output=call.current().identity.tenant)

    server.agent.execute = looks
    answers = await asyncio.gather(*(execute(server, signed(tenant)) for tenant in "abc"))
    assert [answer.output for answer in answers] == ["a", "b", "c"]


async def test_a_method_that_there_is_not_is_unimplemented(server: GuardedServer) -> None:
    method: Any = server.channel.unary_unary("/shoal.agent.v1.AgentService/Dance", bytes, bytes)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await method(b"", timeout=TIMEOUT_SECONDS)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED

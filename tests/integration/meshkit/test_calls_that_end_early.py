"""Calls that end early: their time is up, or their caller leaves. Nothing goes on behind them."""

import asyncio

from meshkit import call
from meshkit.errors import Reason
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.meshkit.guarded_server import (
    EXECUTE,
    EXECUTE_STREAM,
    TIMEOUT_SECONDS,
    GuardedServer,
    Responses,
)
from tests.mesh_identity import signed
from tests.refusal import refusal


async def execute(server: GuardedServer, *, timeout: float = TIMEOUT_SECONDS) -> pb.ExecuteResponse:
    return await server.stub.Execute(pb.ExecuteRequest(), metadata=signed(), timeout=timeout)


async def test_a_call_that_has_too_little_time_is_not_begun(server: GuardedServer) -> None:
    began = False

    async def begins(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        nonlocal began
        began = True
        return pb.ExecuteResponse()

    server.agent.execute = begins
    async with asyncio.timeout(TIMEOUT_SECONDS):
        # A call may expire before it arrives; then another one is sent.
        while not server.counted(EXECUTE, "DEADLINE_EXCEEDED"):
            assert (await refusal(execute(server, timeout=0.045))).reason is Reason.DEADLINE_EXCEEDED
    assert not began


async def test_a_deadline_is_kept_by_both_sides(server: GuardedServer) -> None:
    stopped = asyncio.Event()

    async def waits(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return pb.ExecuteResponse()

    server.agent.execute = waits
    assert (await refusal(execute(server, timeout=0.3))).reason is Reason.DEADLINE_EXCEEDED
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await stopped.wait()
    await server.counts(EXECUTE, "CANCELLED")


async def test_a_stream_ends_at_its_deadline_behind_what_came_before(server: GuardedServer) -> None:
    stopped = asyncio.Event()

    async def waits(request: pb.ExecuteStreamRequest) -> Responses:
        try:
            yield pb.ExecuteStreamResponse(delta=pb.Delta(text="Hel"))
            await asyncio.Event().wait()
        finally:
            stopped.set()

    server.agent.execute_stream = waits
    running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed(), timeout=0.5)
    assert await running.read() == pb.ExecuteStreamResponse(delta=pb.Delta(text="Hel"))
    assert (await refusal(running.read())).reason is Reason.DEADLINE_EXCEEDED
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await stopped.wait()


async def test_a_call_that_its_client_cancels_stops_and_is_counted_as_cancelled(server: GuardedServer) -> None:
    began, stopped = asyncio.Event(), asyncio.Event()

    async def waits(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return pb.ExecuteResponse()

    server.agent.execute = waits
    running = asyncio.create_task(execute(server))
    await began.wait()
    running.cancel()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await stopped.wait()
    await server.counts(EXECUTE, "CANCELLED")


async def test_a_stream_that_is_cancelled_while_it_waits_stops_and_is_counted(server: GuardedServer) -> None:
    stopped = asyncio.Event()

    async def waits(request: pb.ExecuteStreamRequest) -> Responses:
        try:
            yield pb.ExecuteStreamResponse(delta=pb.Delta(text="Hel"))
            await asyncio.Event().wait()
        finally:
            stopped.set()

    server.agent.execute_stream = waits
    running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed(), timeout=TIMEOUT_SECONDS)
    await running.read()
    running.cancel()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await stopped.wait()
    await server.counts(EXECUTE_STREAM, "CANCELLED")


async def test_a_stream_that_is_cancelled_while_it_writes_stops_inside_its_call(server: GuardedServer) -> None:
    """Nobody reads, so the call is stuck in a write when the client leaves, and the handler is suspended at a yield."""
    inside: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def floods(request: pb.ExecuteStreamRequest) -> Responses:
        try:
            while True:
                yield pb.ExecuteStreamResponse(delta=pb.Delta(text="x" * 1_000_000))
        finally:
            inside.set_result(call.current().request_id)

    server.agent.execute_stream = floods
    metadata = (*signed(), ("x-request-id", "request-1"))
    running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=metadata, timeout=TIMEOUT_SECONDS)
    await running.read()
    running.cancel()
    assert await asyncio.wait_for(inside, TIMEOUT_SECONDS) == "request-1"
    await server.counts(EXECUTE_STREAM, "CANCELLED")

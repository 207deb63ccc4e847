"""Calls that end early: their time is up, or their caller leaves. Nothing goes on behind them."""

import asyncio

from meshkit.errors import Reason
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.meshkit.endless import BEGINNING, Endless
from tests.integration.meshkit.guarded_server import (
    EXECUTE,
    EXECUTE_STREAM,
    TIMEOUT_SECONDS,
    GuardedServer,
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
    endless = Endless()
    server.agent.execute = endless.waits
    assert (await refusal(execute(server, timeout=0.3))).reason is Reason.DEADLINE_EXCEEDED
    await endless.stopped()
    await server.counts(EXECUTE, "CANCELLED")


async def test_a_stream_ends_at_its_deadline_behind_what_came_before(server: GuardedServer) -> None:
    endless = Endless()
    server.agent.execute_stream = endless.streams
    running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed(), timeout=0.5)
    assert await running.read() == BEGINNING
    assert (await refusal(running.read())).reason is Reason.DEADLINE_EXCEEDED
    await endless.stopped()


async def test_a_call_that_its_client_cancels_stops_and_is_counted_as_cancelled(server: GuardedServer) -> None:
    endless = Endless()
    server.agent.execute = endless.waits
    running = asyncio.create_task(execute(server))
    await endless.began.wait()
    running.cancel()
    await endless.stopped()
    await server.counts(EXECUTE, "CANCELLED")


async def test_a_stream_that_is_cancelled_while_it_waits_stops_and_is_counted(server: GuardedServer) -> None:
    endless = Endless()
    server.agent.execute_stream = endless.streams
    running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed(), timeout=TIMEOUT_SECONDS)
    await running.read()
    running.cancel()
    await endless.stopped()
    await server.counts(EXECUTE_STREAM, "CANCELLED")


async def test_a_stream_that_is_cancelled_while_it_writes_stops_inside_its_call(server: GuardedServer) -> None:
    """Nobody reads, so the call is stuck in a write when the client leaves, and the handler is suspended at a yield."""
    endless = Endless()
    server.agent.execute_stream = endless.floods
    metadata = (*signed(), ("x-request-id", "request-1"))
    running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=metadata, timeout=TIMEOUT_SECONDS)
    await running.read()
    running.cancel()
    await endless.stopped()
    assert endless.stopped_in == "request-1"
    await server.counts(EXECUTE_STREAM, "CANCELLED")

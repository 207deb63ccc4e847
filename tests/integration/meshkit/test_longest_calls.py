"""The longest that any call may take: what goes on for longer is ended in order."""

import pytest

from meshkit.errors import Reason
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.meshkit.endless import BEGINNING, Endless
from tests.integration.meshkit.guarded_server import (
    EXECUTE,
    EXECUTE_STREAM,
    TIMEOUT_SECONDS,
    Transport,
    guarded_server,
    to_its_end,
)
from tests.mesh_identity import signed
from tests.refusal import refusal

LONGEST_SECONDS = 0.2


@pytest.mark.parametrize("granted", [None, TIMEOUT_SECONDS], ids=["no deadline", "a longer deadline"])
async def test_a_stream_that_goes_on_for_too_long_is_told_so_after_what_it_had(
    transport: Transport, granted: float | None
) -> None:
    endless = Endless()
    async with guarded_server(transport, longest_seconds=LONGEST_SECONDS) as server:
        server.agent.execute_stream = endless.streams
        running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed(), timeout=granted)
        assert await running.read() == BEGINNING
        assert server.guard.running == 1
        error = await refusal(running.read())
        assert (error.reason, "0.2 seconds" in error.message) == (Reason.DEADLINE_EXCEEDED, True)
        assert endless.has_stopped
        await server.counts(EXECUTE_STREAM, "DEADLINE_EXCEEDED")
        assert server.guard.running == 0


async def test_a_whole_answer_that_takes_too_long_is_refused(transport: Transport) -> None:
    async with guarded_server(transport, longest_seconds=LONGEST_SECONDS) as server:
        server.agent.execute = Endless().waits
        error = await refusal(server.stub.Execute(pb.ExecuteRequest(), metadata=signed()))
        assert error.reason is Reason.DEADLINE_EXCEEDED
        await server.counts(EXECUTE, "DEADLINE_EXCEEDED")


async def test_a_stream_that_nobody_reads_is_stopped_too(transport: Transport) -> None:
    endless = Endless()
    async with guarded_server(transport, longest_seconds=LONGEST_SECONDS) as server:
        server.agent.execute_stream = endless.floods
        running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed())
        await running.read()
        await endless.stopped()
        assert (await refusal(to_its_end(running))).reason is Reason.DEADLINE_EXCEEDED
        await server.counts(EXECUTE_STREAM, "DEADLINE_EXCEEDED")


async def test_time_that_runs_out_within_a_handler_is_its_own_affair(transport: Transport) -> None:
    async def gives_up(request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        raise TimeoutError("of something else")

    async with guarded_server(transport, longest_seconds=LONGEST_SECONDS) as server:
        server.agent.execute = gives_up
        error = await refusal(server.stub.Execute(pb.ExecuteRequest(), metadata=signed()))
        assert error.reason is Reason.INTERNAL

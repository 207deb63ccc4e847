"""Callers who do not read: their calls end, whether or not they ever read the rest."""

import asyncio

from meshkit.errors import Reason
from shoal.agent.v1 import agent_pb2 as pb
from tests.backends import wait_until
from tests.integration.meshkit.guarded_server import (
    EXECUTE_STREAM,
    TIMEOUT_SECONDS,
    Responses,
    Transport,
    guarded_server,
    to_its_end,
)
from tests.mesh_identity import signed
from tests.refusal import refusal

PATIENCE_SECONDS = 0.2


async def test_a_stream_that_is_not_read_is_stopped_and_does_not_count_any_more(transport: Transport) -> None:
    stopped = asyncio.Event()

    async def floods(request: pb.ExecuteStreamRequest) -> Responses:
        try:
            while True:
                yield pb.ExecuteStreamResponse(delta=pb.Delta(text="x" * 1_000_000))
        finally:
            stopped.set()

    async with guarded_server(transport, slow_client_seconds=PATIENCE_SECONDS) as server:
        server.agent.execute_stream = floods
        running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed())
        await running.read()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await stopped.wait()
        await server.counts(EXECUTE_STREAM, "DEADLINE_EXCEEDED")
        await asyncio.to_thread(wait_until, lambda: not server.guard.running, "the end of the call")
        # Whoever reads on after all is told what happened.
        error = await refusal(to_its_end(running))
        assert (error.reason, "0.2 seconds" in error.message) == (Reason.DEADLINE_EXCEEDED, True)

"""Callers who do not read: their calls end, whether or not they ever read the rest."""

import asyncio

from meshkit.errors import Reason
from shoal.agent.v1 import agent_pb2 as pb
from tests.backends import wait_until
from tests.integration.meshkit.endless import Endless
from tests.integration.meshkit.guarded_server import (
    EXECUTE_STREAM,
    Transport,
    guarded_server,
    to_its_end,
)
from tests.mesh_identity import signed
from tests.refusal import refusal

PATIENCE_SECONDS = 0.2


async def test_a_stream_that_is_not_read_is_stopped_and_does_not_count_any_more(transport: Transport) -> None:
    endless = Endless()
    async with guarded_server(transport, slow_client_seconds=PATIENCE_SECONDS) as server:
        server.agent.execute_stream = endless.floods
        running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed())
        await running.read()
        await endless.stopped()
        await server.counts(EXECUTE_STREAM, "DEADLINE_EXCEEDED")
        await asyncio.to_thread(wait_until, lambda: not server.guard.running, "the end of the call")
        # Whoever reads on after all is told what happened.
        error = await refusal(to_its_end(running))
        assert (error.reason, "0.2 seconds" in error.message) == (Reason.DEADLINE_EXCEEDED, True)

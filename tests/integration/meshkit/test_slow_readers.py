"""Callers who do not read: their calls end, and nothing is kept for them."""

import asyncio

import grpc

from meshkit.errors import Reason
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.meshkit.guarded_server import (
    EXECUTE_STREAM,
    TIMEOUT_SECONDS,
    Responses,
    guarded_server,
)
from tests.mesh_identity import signed
from tests.refusal import refusal

PATIENCE_SECONDS = 0.2
PIECE = pb.ExecuteStreamResponse(delta=pb.Delta(text="x" * 1_000_000))


async def floods(request: pb.ExecuteStreamRequest) -> Responses:
    while True:
        yield PIECE


async def test_a_stream_that_is_not_read_is_stopped_and_whoever_reads_on_is_told_so() -> None:
    stopped = asyncio.Event()

    async def floods_until_stopped(request: pb.ExecuteStreamRequest) -> Responses:
        try:
            while True:
                yield PIECE
        finally:
            stopped.set()

    async with guarded_server(slow_client_seconds=PATIENCE_SECONDS) as server:
        server.agent.execute_stream = floods_until_stopped
        running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed())
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await stopped.wait()
            print("stopped", server.guard.running)
            t=asyncio.get_running_loop().time()
            await server.counts(EXECUTE_STREAM, "DEADLINE_EXCEEDED")
            print("counted", server.guard.running, asyncio.get_running_loop().time()-t)

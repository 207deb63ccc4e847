"""A client of the gRPC API in a soak."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

import grpc

from load.soak.calls import CANCELLED_AFTER, PATIENCE_SECONDS, BrokenError, check_whole
from load.soak.tally import Outcome
from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc


class GrpcCaller:
    """Makes calls on one connection with one key. The channel is closed by whoever opened it.

    Every method raises AioRpcError or BrokenError if it did not go as it should.
    """

    def __init__(self, channel: grpc.aio.Channel, key: str) -> None:
        self._agent: agent_pb2_grpc.AgentServiceAsyncStub = agent_pb2_grpc.AgentServiceStub(channel)
        self._metadata = (("x-api-key", key),)

    async def ask(self, task: str) -> Outcome:
        """The cache may answer."""
        turn = pb.ExecuteRequest(task=task)
        check_whole((await self._agent.Execute(turn, metadata=self._metadata, timeout=PATIENCE_SECONDS)).output)
        return Outcome.ANSWERED

    async def stream(self, task: str) -> Outcome:
        events = [event async for event in self._begun(task)]
        if not events or not events[-1].HasField("completed"):
            raise BrokenError("the stream ended before its end")
        check_whole("".join(event.delta.text for event in events))
        return Outcome.ANSWERED

    async def leave(self, task: str) -> Outcome:
        """Cancels in the middle of a stream."""
        call, deltas = self._begun(task), 0
        async for event in call:
            deltas += event.HasField("delta")
            if deltas == CANCELLED_AFTER:
                call.cancel()
                return Outcome.CANCELLED
        raise BrokenError(f"a stream that ended after {deltas} deltas")

    def _begun(self, task: str) -> grpc.aio.UnaryStreamCall[pb.ExecuteStreamRequest, pb.ExecuteStreamResponse]:
        turn = pb.ExecuteRequest(task=task, cache=pb.CacheControl(mode=pb.CACHE_MODE_BYPASS))
        request = pb.ExecuteStreamRequest(turn=turn)
        return self._agent.ExecuteStream(request, metadata=self._metadata, timeout=PATIENCE_SECONDS)

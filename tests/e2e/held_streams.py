"""Streams of a real mesh that have begun and stand still until they are let go."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.mesh import Mesh
from tests.simulated_model import ModelProcess

STREAMS = 12
"""More than there are agents, so that each has some."""
STREAM_TOKENS, STREAM_PACE = 100, 12
"""They take eight seconds, in which all of them begin and their model is stopped, also on a busy machine."""


class HeldStreams:
    """Streams that have begun and stand still, for their model does."""

    def __init__(self, calls: list[Any], replicas: list[str], model: ModelProcess) -> None:
        self._calls = calls
        self._model = model
        self.replicas = set(replicas)
        """Who writes them."""

    def release(self) -> None:
        self._model.process.send_signal(signal.SIGCONT)

    async def texts(self) -> list[str]:
        """All of what they said, when they have ended. Raises AioRpcError if one was broken."""
        return list(await asyncio.gather(*map(_text, self._calls)))


async def _text(call: Any) -> str:
    return "".join([event.delta.text async for event in call])


@asynccontextmanager
async def held_streams(mesh: Mesh, key: str, model: ModelProcess) -> AsyncIterator[HeldStreams]:
    async with grpc.aio.insecure_channel(mesh.grpc_target) as channel:
        agent = agent_pb2_grpc.AgentServiceStub(channel)
        turn = pb.ExecuteRequest(
            task=f"Hold on. [[tokens={STREAM_TOKENS}]] [[tokens_per_second={STREAM_PACE}]]",
            cache=pb.CacheControl(mode=pb.CACHE_MODE_BYPASS),
        )
        calls: list[Any] = [
            agent.ExecuteStream(pb.ExecuteStreamRequest(turn=turn), metadata=(("x-api-key", key),))
            for _ in range(STREAMS)
        ]
        headers = [dict(await call.initial_metadata()) for call in calls]
        with model.paused():
            yield HeldStreams(calls, [str(each["x-shoal-replica"]) for each in headers], model)

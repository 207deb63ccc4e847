"""One caller with all the ways to run a task: REST and gRPC, plain and streamed."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc

from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.mesh import Mesh

Surface = Callable[[str, str], Coroutine[Any, Any, str]]
"""Runs a task in a session (or none, if empty), and gives the text of the answer."""


@dataclass(frozen=True)
class Caller:
    """Clients of the front door with one key. Nothing that they ask is looked up in the cache."""

    session: aiohttp.ClientSession
    agent: agent_pb2_grpc.AgentServiceAsyncStub
    key: str

    @property
    def surfaces(self) -> dict[str, Surface]:
        return {"rest": self.rest, "sse": self.sse, "grpc": self.grpc, "grpc stream": self.grpc_stream}

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-api-key", self.key),)

    async def rest(self, task: str, session_id: str = "") -> str:
        async with self.session.post("/api/v1/task", json=_body(task, session_id, stream=False)) as response:
            response.raise_for_status()
            return str((await response.json())["output"])

    async def sse(self, task: str, session_id: str = "") -> str:
        async with self.session.post("/api/v1/task", json=_body(task, session_id, stream=True)) as response:
            response.raise_for_status()
            return "".join([_delta(line) async for line in response.content])

    async def grpc(self, task: str, session_id: str = "") -> str:
        return (await self.agent.Execute(turn(task, session_id), metadata=self.metadata, timeout=60)).output

    async def grpc_stream(self, task: str, session_id: str = "") -> str:
        request = pb.ExecuteStreamRequest(turn=turn(task, session_id))
        stream = self.agent.ExecuteStream(request, metadata=self.metadata, timeout=60)
        try:
            return "".join([event.delta.text async for event in stream])
        finally:
            # Rarely, a task that is cancelled between two reads leaves its call open until it is collected.
            stream.cancel()


def turn(task: str, session_id: str = "") -> pb.ExecuteRequest:
    return pb.ExecuteRequest(task=task, session_id=session_id, cache=pb.CacheControl(mode=pb.CACHE_MODE_BYPASS))


def _body(task: str, session_id: str, *, stream: bool) -> dict[str, object]:
    asked: dict[str, object] = {"task": task, "stream": stream, "cache": {"mode": "bypass"}}
    return asked | ({"session_id": session_id} if session_id else {})


def _delta(line: bytes) -> str:
    if b'"type":"delta"' not in line:
        return ""
    return str(json.loads(line.removeprefix(b"data: "))["text"])


@asynccontextmanager
async def caller_of(mesh: Mesh, key: str) -> AsyncIterator[Caller]:
    async with (
        aiohttp.ClientSession(mesh.url, headers={"X-API-Key": key}) as session,
        grpc.aio.insecure_channel(mesh.grpc_target) as channel,
    ):
        yield Caller(session, agent_pb2_grpc.AgentServiceStub(channel), key)

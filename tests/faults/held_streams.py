"""Streams that a test holds open while something dies, and how each of them ends."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc

from shoal.agent.v1 import agent_pb2 as pb
from tests.faults.callers import Caller, turn

WHOLE = "whole"
CUT = "cut"
"""The connection ended in the middle, without a word."""


@dataclass(frozen=True)
class HeldStream:
    """A stream whose first delta has come. The rest is read by a task."""

    surface: str
    replica: str
    ending: asyncio.Task[str]
    """WHOLE, CUT, or the code of the error that it ended with."""


@asynccontextmanager
async def held_streams(caller: Caller, task: str, *, sse: int = 0, grpc: int = 0) -> AsyncIterator[list[HeldStream]]:
    """So many streams of each surface, opened one after the other. Those that still run in the end are cancelled."""
    held: list[HeldStream] = []
    try:
        for begin in (*[_held_sse] * sse, *[_held_grpc] * grpc):
            stream = await begin(caller, task)
            held.append(stream)
        yield held
    finally:
        for stream in held:
            stream.ending.cancel()
        await asyncio.gather(*(stream.ending for stream in held), return_exceptions=True)


async def _held_sse(caller: Caller, task: str) -> HeldStream:
    body = {"task": task, "stream": True, "cache": {"mode": "bypass"}}
    response = await caller.session.post("/api/v1/task", json=body)
    assert response.status == 200, await response.text()
    async for line in response.content:
        if b'"type":"delta"' in line:
            break
    return HeldStream("sse", response.headers["x-shoal-replica"], asyncio.create_task(_sse_ending(response)))


async def _sse_ending(response: aiohttp.ClientResponse) -> str:
    failed, ending = False, CUT
    async with response:
        try:
            async for line in response.content:
                failed = failed or line == b"event: error\n"
                if line == b"data: [DONE]\n":
                    ending = WHOLE
                elif failed and line.startswith(b"data: "):
                    ending = str(json.loads(line.removeprefix(b"data: "))["code"])
        except aiohttp.ClientPayloadError:
            return CUT
    return ending


async def _held_grpc(caller: Caller, task: str) -> HeldStream:
    call = caller.agent.ExecuteStream(pb.ExecuteStreamRequest(turn=turn(task)), metadata=caller.metadata, timeout=60)
    replica = str(dict(await call.initial_metadata())["x-shoal-replica"])
    async for event in call:
        if event.HasField("delta"):
            break
    return HeldStream("grpc", replica, asyncio.create_task(_grpc_ending(call)))


async def _grpc_ending(call: grpc.aio.UnaryStreamCall[Any, Any]) -> str:
    last = None
    try:
        async for event in call:
            last = event.WhichOneof("event")
    except grpc.aio.AioRpcError as error:
        return error.code().name
    finally:
        call.cancel()
    return WHOLE if last == "completed" else CUT

"""The program that bystanders are: a few callers who stream one answer after the other, and say how each came."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp
import grpc

from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc

TOKENS_PER_SECOND = 40
TOKENS = 64
TASK = f"Tell it [[tokens={TOKENS}]] [[tokens_per_second={TOKENS_PER_SECOND}]]"
COMPLETED = "completed"
REFUSED = "refused"
"""Turned away before it began, with the word to come back later."""
PATIENCE_SECONDS = 60
PAUSE_SECONDS = 0.1
"""Before a caller who was turned away, or whose stream broke, comes back."""


@dataclass
class Stream:
    """One answer as its caller saw it. Times are of the machine's monotonic clock, the same in all processes."""

    caller: str
    began: float = field(default_factory=time.monotonic)
    replica: str = ""
    deltas: list[float] = field(default_factory=list)
    """When each delta came."""
    outcome: str = ""
    """COMPLETED, REFUSED, or how it failed."""
    ended: float = 0.0


Ask = Callable[[Stream], Coroutine[Any, Any, str]]


@dataclass
class Callers:
    """All callers. They go on until standard input ends, and then to the end of the streams that run."""

    enough: bool = False

    def watch_input(self) -> None:
        loop, pipe = asyncio.get_running_loop(), sys.stdin.fileno()

        def is_enough() -> None:
            self.enough = True
            loop.remove_reader(pipe)

        loop.add_reader(pipe, is_enough)

    async def go_on(self, caller: str, ask: Ask) -> None:
        while not self.enough:
            stream = Stream(caller)
            stream.outcome = await ask(stream)
            stream.ended = time.monotonic()
            sys.stdout.write(json.dumps(asdict(stream)) + "\n")
            sys.stdout.flush()
            if stream.outcome != COMPLETED:
                await asyncio.sleep(PAUSE_SECONDS)


def over_sse(session: aiohttp.ClientSession, url: str, key: str) -> Ask:
    """A caller of the REST API."""
    body = {"task": TASK, "stream": True, "cache": {"mode": "bypass"}}

    async def ask(stream: Stream) -> str:
        try:
            async with session.post(f"{url}/api/v1/task", json=body, headers={"X-API-Key": key}) as response:
                if response.status in (429, 503):
                    return REFUSED
                stream.replica = response.headers.get("x-shoal-replica", "")
                return await sse_outcome(response, stream)
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"{type(error).__name__} {error}"

    return ask


async def sse_outcome(response: aiohttp.ClientResponse, stream: Stream) -> str:
    last = b""
    async for line in response.content:
        if b'"type":"delta"' in line:
            stream.deltas.append(time.monotonic())
        if line.startswith(b"data: [DONE]"):
            return COMPLETED
        last = line.strip() or last
    return f"ended with status {response.status} and {last.decode(errors='replace')[:200]}"


def over_grpc(channel: grpc.aio.Channel, key: str) -> Ask:
    """A caller of the gRPC API."""
    turn = pb.ExecuteRequest(task=TASK, cache=pb.CacheControl(mode=pb.CACHE_MODE_BYPASS))
    agent = agent_pb2_grpc.AgentServiceStub(channel)

    async def ask(stream: Stream) -> str:
        call = agent.ExecuteStream(
            pb.ExecuteStreamRequest(turn=turn), metadata=(("x-api-key", key),), timeout=PATIENCE_SECONDS
        )
        try:
            return await grpc_outcome(call, stream)
        except grpc.aio.AioRpcError as error:
            turned_away = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
            return REFUSED if turned_away and not stream.replica else f"{error.code().name} {error.details()}"

    return ask


async def grpc_outcome(
    call: "grpc.aio.UnaryStreamCall[pb.ExecuteStreamRequest, pb.ExecuteStreamResponse]", stream: Stream
) -> str:
    stream.replica = str(dict(await call.initial_metadata()).get("x-shoal-replica", ""))
    last = None
    async for event in call:
        last = event.WhichOneof("event")
        if last == "delta":
            stream.deltas.append(time.monotonic())
    return COMPLETED if last == "completed" else f"ended in order after {last}"


async def main(url: str, target: str, sse: int, over_http2: int, key: str) -> None:
    callers = Callers()
    callers.watch_input()
    patience = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=patience) as session,
        grpc.aio.insecure_channel(target) as channel,
        asyncio.TaskGroup() as running,
    ):
        for number in range(sse):
            running.create_task(callers.go_on(f"sse-{number}", over_sse(session, url, key)))
        for number in range(over_http2):
            running.create_task(callers.go_on(f"grpc-{number}", over_grpc(channel, key)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), os.environ["BYSTANDERS_KEY"]))

"""Callers of every kind, who ask one thing after the other as long as they are wanted, and note what fails."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc

from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.mesh import Mesh

TOKENS = 20
"""In the answers of the simulated model."""
LONG_TOKENS, LONG_PACE = 120, 20
"""The long ones go on for six seconds, far longer than a process takes to end that is not waited for: its notice of 1.5
seconds, and DRAIN_SECONDS if its mesh is told so."""
DRAIN_SECONDS = "0.5"
CALLERS_OF_A_KIND = 2
KNOWN_TASKS = 8
"""One request in four asks one of these, and so finds its answer in the cache."""
PATIENCE_SECONDS = 60
UNCHECKED = "The limits cannot be checked"


@dataclass(frozen=True)
class Answer:
    """What a caller got."""

    text: str
    replica: str
    cache: str


Ask = Callable[[str, bool], Awaitable[Answer]]
"""Runs a task, past the cache or not."""


@dataclass
class Callers:
    """What came of all requests so far. Whoever fails goes on with the next request."""

    answered: Counter[str] = field(default_factory=Counter)
    """Whole answers by the kind of caller."""
    replicas: Counter[str] = field(default_factory=Counter)
    """Whole answers by the agent that gave them."""
    caches: Counter[str] = field(default_factory=Counter)
    """Whole answers by what the cache had to do with them."""
    failures: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    """Refusals because the limiter did not answer in time. With both cores busy that happens now and then, so they say
    something only where the limiter itself was changed."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _enough: bool = False

    @property
    def requests(self) -> int:
        return self.answered.total() + len(self.failures) + len(self.unchecked)

    async def reach(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def more(self, requests: int) -> None:
        """Waits until that many more have been made."""
        enough = self.requests + requests
        await self.reach(lambda: self.requests >= enough)

    async def go_on(self, kind: str, ask: Ask) -> None:
        """Asks until it is enough; one request in four may be answered by the cache."""
        for number in itertools.count():
            if self._enough:
                return
            known = number % 4 == 0
            task = f"Known {number % KNOWN_TASKS}." if known else f"Say {number}."
            await self._ask(kind, ask, task, bypass=not known, tokens=TOKENS)

    async def go_on_long(self, kind: str, ask: Ask) -> None:
        """The same with streams that live through several changes of the mesh."""
        task = f"Take your time. [[tokens={LONG_TOKENS}]] [[tokens_per_second={LONG_PACE}]]"
        while not self._enough:
            await self._ask(kind, ask, task, bypass=True, tokens=LONG_TOKENS)

    def stop(self) -> None:
        """Lets every caller end after the request that it waits for."""
        self._enough = True

    async def _ask(self, kind: str, ask: Ask, task: str, *, bypass: bool, tokens: int) -> None:
        try:
            answer = await ask(task, bypass)
            if (words := len(answer.text.split())) != tokens:
                raise BrokenError(f"{words} words instead of {tokens}")
        except (aiohttp.ClientError, grpc.aio.AioRpcError, BrokenError, TimeoutError) as error:
            failure = f"{kind}: {type(error).__name__} {error}"
            (self.unchecked if UNCHECKED in failure else self.failures).append(failure)
        else:
            self.answered[kind] += 1
            self.replicas[answer.replica] += 1
            self.caches[answer.cache] += 1
        self._news.set()


class BrokenError(Exception):
    """An answer that is not whole."""


class RestCaller:
    """A client of the REST API; its connections are kept alive."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(self, task: str, bypass: bool) -> Answer:
        async with self._session.post("/api/v1/task", json=_body(task, bypass, stream=False)) as response:
            answer = await response.json()
            if response.status != 200:
                raise BrokenError(f"{response.status} {answer}")
        return Answer(answer["output"], answer["replica"], answer["cache"]["status"])

    async def stream(self, task: str, bypass: bool) -> Answer:
        async with self._session.post("/api/v1/task", json=_body(task, bypass, stream=True)) as response:
            lines = [line.decode().strip() async for line in response.content]
        if "data: [DONE]" not in lines:
            raise BrokenError(f"{response.status} {lines[-3:]}")
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
        text = "".join(event["text"] for event in events if event["type"] == "delta")
        return Answer(text, response.headers["x-shoal-replica"], response.headers["x-shoal-cache"].partition(";")[0])


class GrpcCaller:
    """A client of the gRPC API on one connection."""

    def __init__(self, channel: grpc.aio.Channel, key: str) -> None:
        self._agent: agent_pb2_grpc.AgentServiceAsyncStub = agent_pb2_grpc.AgentServiceStub(channel)
        self._asked: dict[str, Any] = {"metadata": (("x-api-key", key),), "timeout": PATIENCE_SECONDS}

    async def ask(self, task: str, bypass: bool) -> Answer:
        call = self._agent.Execute(_turn(task, bypass), **self._asked)
        return await _answer(call, (await call).output)

    async def stream(self, task: str, bypass: bool) -> Answer:
        call = self._agent.ExecuteStream(pb.ExecuteStreamRequest(turn=_turn(task, bypass)), **self._asked)
        events = [event async for event in call]
        if not events or not events[-1].HasField("completed"):
            raise BrokenError("the stream ended before its end")
        return await _answer(call, "".join(event.delta.text for event in events))


async def _answer(call: Any, text: str) -> Answer:
    headers = dict(await call.initial_metadata())
    return Answer(text, headers["x-shoal-replica"], headers["x-shoal-cache"].partition(";")[0])


def _body(task: str, bypass: bool, *, stream: bool) -> dict[str, object]:
    return {"task": task, "stream": stream, "cache": {"mode": "bypass" if bypass else "default"}}


def _turn(task: str, bypass: bool) -> pb.ExecuteRequest:
    mode = pb.CACHE_MODE_BYPASS if bypass else pb.CACHE_MODE_DEFAULT
    return pb.ExecuteRequest(task=task, cache=pb.CacheControl(mode=mode))


@asynccontextmanager
async def mixed_callers(mesh: Mesh, key: str, *, long: bool = True) -> AsyncIterator[Callers]:
    """Starts the callers, and ends them in order: by then, each has the answer to its last request.

    `long` is whether there are long streams as well.
    """
    callers = Callers()
    async with (
        aiohttp.ClientSession(mesh.url, headers={"X-API-Key": key}) as session,
        grpc.aio.insecure_channel(mesh.grpc_target) as channel,
        asyncio.TaskGroup() as work,
    ):
        rest, over_grpc = RestCaller(session), GrpcCaller(channel, key)
        kinds = {"rest": rest.ask, "sse": rest.stream, "grpc": over_grpc.ask, "grpc stream": over_grpc.stream}
        for kind, ask in kinds.items():
            for _ in range(CALLERS_OF_A_KIND):
                work.create_task(callers.go_on(kind, ask))
        for kind in ("sse", "grpc stream") if long else ():
            work.create_task(callers.go_on_long(f"long {kind}", kinds[kind]))
        try:
            yield callers
        finally:
            callers.stop()

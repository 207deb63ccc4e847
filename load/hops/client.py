"""One request after the other, each timed."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp
from google.protobuf.json_format import ParseDict

from load.hops.cases import PATH, Case
from load.measuring.generator import MeasurementError
from meshkit.channel import open_channel
from shoal.agent.v1 import agent_pb2, agent_pb2_grpc

_MOST_SECONDS = 20.0
_DELTA = b'"type":"delta"'
_PACE = "[[tokens=5]] [[tokens_per_second=50]]"
"""Of a stream of the simulated model: nobody is busy with what comes next while the first delta is on its way."""

Ask = Callable[[object, Mapping[str, str]], Awaitable[tuple[int, int]]]
"""Asks the request of that number with these headers. Returns when it began, and when its answer, or of a stream the
first delta, was there: nanoseconds since 1970."""


@asynccontextmanager
async def asking(case: Case, address: str, api_key: str) -> AsyncIterator[Ask]:
    """Over one connection. What it yields raises MeasurementError if there is no good answer."""
    async with (_grpc if case.is_grpc else _rest)(case, address, api_key) as ask:
        yield ask


@asynccontextmanager
async def _rest(case: Case, address: str, api_key: str) -> AsyncIterator[Ask]:
    timeout = aiohttp.ClientTimeout(total=_MOST_SECONDS)
    async with aiohttp.ClientSession(f"http://{address}", timeout=timeout) as session:

        async def ask(number: object, headers: Mapping[str, str]) -> tuple[int, int]:
            sent = {**case.rest_headers(api_key), **headers}
            body = case.rest_body(f"{number} {_PACE}" if case.is_streamed else number)
            begin = time.time_ns()
            async with session.post(PATH, data=body, headers=sent) as response:
                end = await _answered(case, response)
            return begin, end

        yield ask


async def _answered(case: Case, response: aiohttp.ClientResponse) -> int:
    """When what was waited for was there; reads the rest as well, for the sake of the connection."""
    if response.status != 200:
        raise MeasurementError(f"{case.name}: answered {response.status}: {(await response.text())[:300]}")
    if not case.is_streamed:
        await response.read()
        return time.time_ns()
    first = 0
    async for line in response.content:
        if not first and _DELTA in line:
            first = time.time_ns()
    if not first:
        raise MeasurementError(f"{case.name}: a stream had no delta")
    return first


@asynccontextmanager
async def _grpc(case: Case, address: str, api_key: str) -> AsyncIterator[Ask]:
    async with open_channel(address) as channel:
        stub = agent_pb2_grpc.AgentServiceStub(channel)

        async def ask(number: object, headers: Mapping[str, str]) -> tuple[int, int]:
            request = ParseDict(dict(case.grpc_message(number)), agent_pb2.ExecuteRequest())
            metadata = (("x-api-key", api_key), *headers.items())
            begin = time.time_ns()
            await stub.Execute(request, metadata=metadata, timeout=_MOST_SECONDS)
            return begin, time.time_ns()

        yield ask

"""Many small deltas at once: streams that are read slowly must not cost others theirs."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import httpx

from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.mesh import Mesh

STREAMS = 30
DELTAS = 4000
TASK = f"Say it all. [[tokens={DELTAS}]]"
REFUSED = -1


async def replayed_by_rest(client: httpx.AsyncClient, mesh: Mesh) -> int:
    """How many deltas came before [DONE]. Fails with what came instead of it."""
    body, headers = {"task": TASK, "stream": True}, {"X-API-Key": mesh.api_key}
    deltas, last = 0, ""
    async with client.stream("POST", f"{mesh.url}/api/v1/task", json=body, headers=headers) as response:
        async for line in response.aiter_lines():
            deltas += '"type":"delta"' in line
            if line == "data: [DONE]":
                return deltas
            last = line or last
    if "LIMITER_UNAVAILABLE" in last:
        return REFUSED
    raise AssertionError(f"after {deltas} deltas: {last}")


async def replayed_by_grpc(channel: grpc.aio.Channel, mesh: Mesh) -> int:
    """The same over gRPC."""
    request = pb.ExecuteStreamRequest(turn=pb.ExecuteRequest(task=TASK))
    agent = agent_pb2_grpc.AgentServiceStub(channel)
    stream = agent.ExecuteStream(request, metadata=(("x-api-key", mesh.api_key),), timeout=100)
    try:
        return len([event async for event in stream if event.HasField("delta")])
    except grpc.aio.AioRpcError as error:
        if "limits cannot be checked" in str(error.details()):
            return REFUSED
        raise


async def served(replay: Callable[[], Awaitable[int]]) -> int:
    """Asks again while refused: with both cores busy, the limiter does not always answer within 200 ms."""
    while (deltas := await replay()) == REFUSED:
        pass
    return deltas


async def test_streams_of_many_small_deltas_all_come_to_their_end(simulated_mesh: Mesh) -> None:
    mesh = simulated_mesh
    async with httpx.AsyncClient(timeout=100) as client, grpc.aio.insecure_channel(mesh.grpc_target) as channel:
        first = await replayed_by_rest(client, mesh)
        by_rest = await asyncio.gather(*(served(lambda: replayed_by_rest(client, mesh)) for _ in range(STREAMS)))
        by_grpc = await asyncio.gather(*(served(lambda: replayed_by_grpc(channel, mesh)) for _ in range(STREAMS)))
    assert first == DELTAS
    assert by_rest == by_grpc == [DELTAS] * STREAMS

"""The life of a replica: what it shows, and how it ends."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from meshkit.channel import open_channel
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.agent.agent_process import TIMEOUT_SECONDS, AgentProcess, Caller, agent_process
from tests.mesh_identity import signed
from tests.simulated_model import Server

SERVICE = pb.DESCRIPTOR.services_by_name["AgentService"].full_name
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health_of(channel: grpc.aio.Channel, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    response: health_pb2.HealthCheckResponse = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    status: int = response.status
    return status


async def test_health_is_serving_by_the_services_own_name_and_needs_no_identity(agent: AgentProcess) -> None:
    async with open_channel(agent.address) as channel:
        assert [await health_of(channel, name) for name in ("", SERVICE)] == [SERVING, SERVING]


async def test_reflection_lists_the_service_and_needs_no_identity(agent: AgentProcess) -> None:
    async def requests() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    async with open_channel(agent.address) as channel:
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(requests())
        listed = [service.name async for answer in answers for service in answer.list_services_response.service]
    assert SERVICE in listed


async def test_metrics_count_the_calls_and_readiness_is_shown(agent: AgentProcess, acme: Caller) -> None:
    await acme.list_models()
    pages = [await asyncio.to_thread(fetch, f"http://{agent.metrics_address}/{path}") for path in ("ready", "metrics")]
    assert pages[0] == "ready\n"
    assert f'shoal_rpc_seconds_count{{code="OK",method="/{SERVICE}/ListModels"}}' in pages[1]


def fetch(url: str) -> str:
    with urllib.request.urlopen(url) as response:  # noqa: S310 - our own http address
        text: str = response.read().decode()
        return text


async def test_told_to_stop_it_says_so_first_and_lets_running_streams_finish(
    valkey_url: str, model: Server, tmp_path: Path
) -> None:
    drain = {"SHOAL_DRAIN_NOTICE_SECONDS": "0.3", "SHOAL_DRAIN_SECONDS": str(TIMEOUT_SECONDS)}
    with agent_process(tmp_path, redis_url=valkey_url, model_url=model.url, **drain) as agent:
        async with Caller(agent.address, signed("acme")) as caller:
            watch = health_pb2_grpc.HealthStub(caller.channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
            assert (await anext(aiter(watch))).status == SERVING
            stream = caller.stream(pb.ExecuteRequest(task="one two [[tokens=8]] [[tokens_per_second=4]]"))
            begun = [await anext(aiter(stream)) for _ in range(2)]
            agent.process.terminate()
            assert (await anext(aiter(watch))).status == NOT_SERVING
            watch.cancel()
            assert not stream.done()
            rest = [event async for event in stream]
            assert await asyncio.to_thread(agent.process.wait, TIMEOUT_SECONDS) == 0
    kinds = [event.WhichOneof("event") for event in begun + rest]
    assert kinds == ["started", *["delta"] * 8, "usage", "completed"]


async def test_streams_that_outlast_the_drain_are_ended_and_their_models_stopped(
    valkey_url: str, model: Server, tmp_path: Path
) -> None:
    with agent_process(tmp_path, redis_url=valkey_url, model_url=model.url, SHOAL_DRAIN_SECONDS="0.2") as agent:
        async with Caller(agent.address, signed("acme")) as caller:
            reader = aiter(caller.stream(pb.ExecuteRequest(task="[[hang]]")))
            await anext(reader)
            await model.calls_reach(concurrent=1)
            agent.process.terminate()
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await anext(reader)
            assert ended.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
            await model.calls_reach(cancelled=1, concurrent=0)
            assert await asyncio.to_thread(agent.process.wait, TIMEOUT_SECONDS) == 0

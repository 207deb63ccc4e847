"""A replica takes what its slots and its short queue hold, and refuses the rest before any work."""

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from meshkit.errors import Reason
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.agent.agent_process import Caller, agent_process
from tests.integration.agent.test_life import SERVICE, SERVING, fetch
from tests.mesh_identity import signed
from tests.refusal import refusal
from tests.simulated_model import Server

HANGING = pb.ExecuteRequest(task="[[hang]]")
HELLO = pb.ExecuteRequest(task="hello [[tokens=1]]")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_full_replica_refuses_turns_before_any_work_and_goes_on_with_the_rest(
    valkey_url: str, model: Server, tmp_path: Path, streamed: bool
) -> None:
    settings = {"SHOAL_AGENT_SLOTS": "1", "SHOAL_AGENT_QUEUE": "0"}
    with agent_process(tmp_path, redis_url=valkey_url, model_url=model.url, **settings) as agent:
        async with Caller(agent.address, signed("acme")) as caller:
            holds = caller.stream(HANGING)
            await anext(aiter(holds))
            await model.calls_reach(begun=1)
            refused = caller.stream(HELLO) if streamed else caller.stub.Execute(HELLO, metadata=caller.metadata)
            error = await refusal(refused)
            assert (error.reason, error.code) == (Reason.REPLICA_BUSY, "UNAVAILABLE")
            assert error.retry_after_seconds == 1.0
            assert dict(await refused.trailing_metadata() or ())["grpc-retry-pushback-ms"] == "1000"
            assert not await refused.initial_metadata()  # So that Envoy may ask another replica.
            assert (await refusal(caller.execute(pb.ExecuteRequest()))).reason is Reason.FIELD_REQUIRED
            assert (await caller.list_models()).models
            health = health_pb2_grpc.HealthStub(caller.channel)
            assert (await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))).status == SERVING
            holds.cancel()
            await agent.becomes(running=0)
            assert (await caller.execute(HELLO)).output == "hello"
    await model.calls_reach(begun=2)


async def test_the_queue_is_served_when_a_slot_comes_free(valkey_url: str, model: Server, tmp_path: Path) -> None:
    settings = {"SHOAL_AGENT_SLOTS": "1", "SHOAL_AGENT_QUEUE": "1"}
    with agent_process(tmp_path, redis_url=valkey_url, model_url=model.url, **settings) as agent:
        await agent.becomes(ready=True, running=0, waiting=0, slots=1)
        async with Caller(agent.address, signed("acme")) as caller:
            holds = caller.stream(HANGING)
            await anext(aiter(holds))
            waits = asyncio.ensure_future(caller.execute(HELLO))
            await agent.becomes(running=1, waiting=1)
            metrics = await asyncio.to_thread(fetch, f"http://{agent.metrics_address}/metrics")
            shown = {line for line in metrics.splitlines() if line.startswith("shoal_agent_")}
            assert shown >= {"shoal_agent_slots 1.0", "shoal_agent_turns_running 1.0", "shoal_agent_turns_waiting 1.0"}
            assert (await refusal(caller.execute(HELLO))).reason is Reason.REPLICA_BUSY
            holds.cancel()
            assert (await waits).output == "hello"
        await agent.becomes(running=0, waiting=0)


async def test_whoever_leaves_the_queue_takes_no_slot(valkey_url: str, model: Server, tmp_path: Path) -> None:
    settings = {"SHOAL_AGENT_SLOTS": "1", "SHOAL_AGENT_QUEUE": "1"}
    with agent_process(tmp_path, redis_url=valkey_url, model_url=model.url, **settings) as agent:
        async with Caller(agent.address, signed("acme")) as caller:
            holds = caller.stream(HANGING)
            await anext(aiter(holds))
            waits = caller.stub.Execute(HELLO, metadata=caller.metadata)
            await agent.becomes(running=1, waiting=1)
            waits.cancel()
            await agent.becomes(running=1, waiting=0)
            holds.cancel()
            assert (await caller.execute(HELLO)).output == "hello"


async def test_a_stream_without_a_deadline_is_ended_and_frees_its_slot(
    valkey_url: str, model: Server, tmp_path: Path
) -> None:
    settings = {"SHOAL_AGENT_SLOTS": "1", "SHOAL_AGENT_QUEUE": "0", "SHOAL_STREAM_MAX_SECONDS": "1"}
    with agent_process(tmp_path, redis_url=valkey_url, model_url=model.url, **settings) as agent:
        async with Caller(agent.address, signed("acme")) as caller:
            stream = caller.stub.ExecuteStream(pb.ExecuteStreamRequest(turn=HANGING), metadata=caller.metadata)
            reader = aiter(stream)
            assert (await anext(reader)).HasField("started")
            assert (await refusal(anext(reader))).reason is Reason.DEADLINE_EXCEEDED
            assert await stream.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await model.calls_reach(cancelled=1, concurrent=0)
            assert (await caller.execute(HELLO)).output == "hello"

"""Model tokens and calls at the same time, limited through the front door: who is refused, how, and for how long."""

import asyncio
import json
import math
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import openai
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.backends import wait_until
from tests.e2e.grpc_calls import error_info
from tests.mesh import Mesh, running_mesh
from tests.simulated_model import model_process

PLACES = 3
LIMITS = f"""
tiers:
  basic:
    concurrent: {{calls: {PLACES}}}
  premium:
    model_tokens: {{per_minute: 6000, burst: 1000}}
"""
HANGING = {"task": "[[hang]]", "stream": True}
TASK = "/api/v1/task"


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh with a simulated model and limits of its own."""
    limits_file: Path = tmp_path_factory.mktemp("limits") / "limits.yaml"
    limits_file.write_text(LIMITS)
    with (
        model_process() as model,
        running_mesh(
            SHOAL_MODEL_BASE_URL=f"{model.url}/v1",
            SHOAL_LIMITS_FILE=str(limits_file),
            SHOAL_RESERVATION_TTL_SECONDS="5",
        ) as mesh,
    ):
        yield mesh


@asynccontextmanager
async def client_of(mesh: Mesh, *, tenant: str, tier: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key of its own."""
    key = await asyncio.to_thread(mesh.create_key, tenant=tenant, tier=tier)
    async with httpx.AsyncClient(base_url=mesh.url, headers={"X-API-Key": key}, timeout=60) as client:
        yield client


@asynccontextmanager
async def hanging(client: httpx.AsyncClient) -> AsyncIterator[str]:
    """A stream that has begun and then says nothing; yields the replica that serves it."""
    async with client.stream("POST", TASK, json=HANGING) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))["replica"]
                return


@asynccontextmanager
async def all_places_but_one_taken(client: httpx.AsyncClient) -> AsyncIterator[None]:
    async with AsyncExitStack() as streams:
        for _ in range(PLACES - 1):
            await streams.enter_async_context(hanging(client))
        yield


async def gets_in(client: httpx.AsyncClient) -> None:
    """Asks until a new answer is computed."""
    new = {"task": "hello [[tokens=1]]", "cache": {"mode": "bypass"}}
    async with asyncio.timeout(30):
        while (await client.post(TASK, json=new)).status_code != 200:
            pass


async def test_who_has_all_places_taken_is_refused_on_every_surface_and_nobody_else_is(limited: Mesh) -> None:
    async with (
        client_of(limited, tenant="busy", tier="basic") as busy,
        client_of(limited, tenant="busy", tier="basic") as colleague,
        all_places_but_one_taken(busy),
    ):
        async with hanging(busy):
            for stream in (False, True):
                await refused_by_rest(busy, stream=stream)
                await refused_by_openai(limited, busy.headers["x-api-key"], stream=stream)
            refused_by_grpc(limited, busy.headers["x-api-key"])
            assert (await colleague.post(TASK, json={"task": "hello [[tokens=1]]"})).status_code == 200
        await gets_in(busy)


async def refused_by_rest(client: httpx.AsyncClient, *, stream: bool) -> None:
    refused = await client.post(TASK, json={**HANGING, "stream": stream})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.headers["content-type"] == "application/json"
    body = refused.json()
    assert (body["reason"], body["code"]) == ("RATE_LIMITED", "RESOURCE_EXHAUSTED")
    assert body["retry_after_seconds"] == 1.0
    assert f"{PLACES} calls at the same time" in body["error"]


async def refused_by_openai(mesh: Mesh, key: str, *, stream: bool) -> None:
    async with openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key=key, max_retries=0, timeout=60) as client:
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(
                model="simulated", messages=[{"role": "user", "content": "[[hang]]"}], stream=stream
            )
    assert refused.value.type == "rate_limit_error"
    assert refused.value.code == "rate_limited"
    assert refused.value.response.headers["retry-after"] == "1"
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["retry_after_seconds"] == 1.0


def refused_by_grpc(mesh: Mesh, key: str) -> None:
    with grpc.insecure_channel(mesh.grpc_target) as channel:
        agent = agent_pb2_grpc.AgentServiceStub(channel)
        turn = pb.ExecuteRequest(task="[[hang]]")
        metadata: Any = (("x-api-key", key),)
        with pytest.raises(grpc.RpcError) as unary:
            agent.Execute(turn, metadata=metadata, timeout=60)
        with pytest.raises(grpc.RpcError) as streamed:
            next(agent.ExecuteStream(pb.ExecuteStreamRequest(turn=turn), metadata=metadata, timeout=60))
    for error in (unary.value, streamed.value):
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error_info(error).reason == "ERROR_REASON_RATE_LIMITED"
        retry = error_details_pb2.RetryInfo()
        rpc_status.from_call(error).details[1].Unpack(retry)
        assert retry.retry_delay.ToMilliseconds() == 1000
        trailers = {str(item.key): str(item.value) for item in error.trailing_metadata()}
        assert trailers["grpc-retry-pushback-ms"] == "1000"


async def test_who_has_used_its_tokens_waits_as_long_as_it_is_told_and_not_longer(limited: Mesh) -> None:
    async with client_of(limited, tenant="talker", tier="premium") as talker:
        spent = await talker.post(TASK, json={"task": "hello [[tokens=300]]", "max_tokens": 300})
        assert spent.json()["usage"]["output_tokens"] == 300
        long = {"task": "hello again [[tokens=1]]", "max_tokens": 950}
        refused = await talker.post(TASK, json=long)
        assert refused.status_code == 429
        seconds = refused.json()["retry_after_seconds"]
        assert 0 < seconds < 10
        assert refused.headers["retry-after"] == str(max(1, math.ceil(seconds)))
        assert "6000 model tokens per minute" in refused.json()["error"]
        assert (await talker.post(TASK, json={"task": "short [[tokens=1]]", "max_tokens": 1})).status_code == 200
        again = (await talker.post(TASK, json=long)).json()["retry_after_seconds"]
        await asyncio.sleep(again)
        assert (await talker.post(TASK, json=long)).status_code == 200


async def test_who_asks_for_more_than_there_ever_is_is_not_told_to_wait(limited: Mesh) -> None:
    async with client_of(limited, tenant="greedy", tier="premium") as greedy:
        refused = await greedy.post(TASK, json={"task": "hello", "max_tokens": 1001})
    assert (refused.status_code, refused.json()["reason"]) == (400, "COST_ABOVE_CAPACITY")
    assert refused.json()["field"] == "max_tokens"
    assert "retry-after" not in refused.headers


async def test_an_answer_from_the_cache_costs_neither_tokens_nor_a_place(limited: Mesh) -> None:
    known = {"task": "hello known [[tokens=1]]"}
    async with client_of(limited, tenant="again", tier="basic") as client:
        assert (await client.post(TASK, json=known)).headers["x-shoal-cache"] == "miss"
        async with all_places_but_one_taken(client), hanging(client):
            assert (await client.post(TASK, json=known)).headers["x-shoal-cache"] == "hit; level=l1"


async def test_while_the_limits_hang_known_answers_are_served_and_new_ones_refused(limited: Mesh) -> None:
    known = {"task": "hello while it lasts [[tokens=1]]"}
    async with client_of(limited, tenant="lasting", tier="basic") as client:
        answer = (await client.post(TASK, json=known)).json()["output"]
        with limited.stopped("valkey-limits"):
            again = await client.post(TASK, json=known)
            assert (again.status_code, again.headers["x-shoal-cache"]) == (200, "hit; level=l1")
            assert again.json()["output"] == answer
            refused = await client.post(TASK, json={"task": "hello, news [[tokens=1]]"})
            assert (refused.status_code, refused.json()["reason"]) == (503, "LIMITER_UNAVAILABLE")
        await gets_in(client)


async def test_the_place_of_a_killed_replica_comes_back(limited: Mesh) -> None:
    async with (
        client_of(limited, tenant="unlucky", tier="basic") as unlucky,
        all_places_but_one_taken(unlucky),
        hanging(unlucky) as replica,
    ):
        pid = limited.pid(replica)
        os.kill(pid, signal.SIGKILL)
        await gets_in(unlucky)
    await asyncio.to_thread(wait_until, lambda: limited.pids().get(replica, pid) != pid, "the new process")

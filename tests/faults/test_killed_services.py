"""A gateway, the cache or a store is gone: each costs what the failure contract says, and no more."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from meshkit.errors import Reason
from tests.faults.bystanders import BystandersOf
from tests.faults.callers import Caller, caller_of, turn
from tests.faults.held_streams import CUT, held_streams
from tests.faults.pools import back_in_pool, kill
from tests.faults.waiting import until
from tests.mesh import Mesh
from tests.refusal import refusal
from tests.simulated_model import Server

STREAMS = 8
CALLS = 10
LONG = "Tell it. [[tokens=400]] [[tokens_per_second=20]]"


@pytest.fixture(scope="module")
def key(wide_mesh: Mesh) -> str:
    return wide_mesh.create_key(tenant="survivor", tier="premium")


@pytest.fixture
async def caller(wide_mesh: Mesh, key: str) -> AsyncIterator[Caller]:
    async with caller_of(wide_mesh, key) as caller:
        yield caller


async def cache_of(caller: Caller, task: str) -> str:
    """What the cache did for a task that is answered."""
    async with caller.session.post("/api/v1/task", json={"task": task}) as response:
        assert response.status == 200, await response.text()
        return response.headers["x-shoal-cache"]


async def test_a_killed_gateway_costs_its_own_requests_only(
    wide_mesh: Mesh, caller: Caller, simulated: Server, bystanders: BystandersOf
) -> None:
    """Its streams are cut without a word, for nobody is left to say it; there is no [DONE]."""
    async with bystanders(wide_mesh, sse=0, grpc=4) as others:
        await others.quiet()
        async with held_streams(caller, LONG, sse=STREAMS) as held:
            pid = kill(wide_mesh, "gateway-1")
            await asyncio.wait([stream.ending for stream in held], return_when=asyncio.FIRST_COMPLETED)
            assert [await caller.rest("Say it. [[tokens=1]]") for _ in range(CALLS)] == ["Say"] * CALLS
            await back_in_pool(wide_mesh, "gateway-1", pid=pid, replicas=2)
            ended = [await stream.ending for stream in held if stream.ending.done()]
            assert set(ended) == {CUT}
            assert len(ended) < STREAMS
        await others.during("a gateway is killed")
    await simulated.calls_reach(concurrent=0)


async def test_without_the_cache_answers_are_computed(
    wide_mesh: Mesh, caller: Caller, bystanders: BystandersOf
) -> None:
    async with bystanders(wide_mesh) as others:
        await others.quiet()
        pid = kill(wide_mesh, "cache-1")
        assert {await cache_of(caller, f"Say {number}.") for number in range(CALLS)} == {"miss"}
        await back_in_pool(wide_mesh, "cache-1", pid=pid, replicas=1)
        await others.during("the cache is killed")

    async def is_hit() -> bool:
        return (await cache_of(caller, "Say it once more.")).startswith("hit")

    await until(is_hit, "a hit")


async def test_without_redis_for_the_cache_there_are_misses_and_no_errors(wide_mesh: Mesh, caller: Caller) -> None:
    known = "Say what is known."
    await cache_of(caller, known)
    with wide_mesh.stopped("valkey-cache"):
        assert await cache_of(caller, known) == "hit; level=l1"
        assert {await cache_of(caller, f"Say {number} anew.") for number in range(CALLS)} == {"miss"}


async def test_without_redis_for_state_only_sessions_are_refused_and_none_is_forgotten(
    wide_mesh: Mesh, caller: Caller, bystanders: BystandersOf
) -> None:
    async with bystanders(wide_mesh) as others:
        await others.quiet()
        first = await caller.rest("Remember it.", "kept")
        with wide_mesh.stopped("valkey-state"):
            assert await caller.rest("Say it. [[tokens=1]]") == "Say"
            error = await refusal(caller.agent.Execute(turn("More.", "kept"), metadata=caller.metadata, timeout=60))
            assert error.reason is Reason.STATE_UNAVAILABLE
            body = {"task": "More.", "session_id": "kept"}
            async with caller.session.post("/api/v1/task", json=body) as refused:
                assert (refused.status, (await refused.json())["reason"]) == (503, "STATE_UNAVAILABLE")
            await others.during("Redis for state hangs")

        async def goes_on() -> bool:
            async with caller.session.post("/api/v1/task", json=body) as answer:
                return answer.status == 200

        await until(goes_on, "the return of sessions")
    async with caller.session.get("/api/v1/sessions/kept") as session:
        told = [message["content"] for message in (await session.json())["messages"]]
    assert told[:3] == ["Remember it.", first, "More."]

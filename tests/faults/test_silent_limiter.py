"""The limiter hangs: each route fails as it is set, the flood guard holds, nothing piles up, and it recovers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import grpc
import pytest

from shoal.agent.v1 import agent_pb2 as pb
from tests.faults.bystanders import BystandersOf
from tests.faults.callers import Caller, caller_of
from tests.faults.envoy_stats import envoy_stat
from tests.faults.pools import healthy
from tests.faults.waiting import until
from tests.mesh import Mesh

CALLS = 100
CLOSED = "/api/v1/sessions/nosuch"
OPEN = "/v1/models"
FLOODER = "127.0.0.3"
FLOOD = 3000
BURST, PER_SECOND = 600, 300


@pytest.fixture
async def caller(wide_mesh: Mesh) -> AsyncIterator[Caller]:
    key = await asyncio.to_thread(wide_mesh.create_key, tenant="unchecked", tier="bench")
    async with caller_of(wide_mesh, key) as caller:
        yield caller


@asynccontextmanager
async def silent_limiter(mesh: Mesh) -> AsyncIterator[None]:
    """It hangs; in the end it is asked again, by Envoy and by operators."""
    with mesh.stopped("ratelimit-1"):
        yield

    async def is_asked() -> bool:
        listed = await asyncio.to_thread(mesh.shoal, "keys", "list", check=False)
        return listed.returncode == 0 and await healthy(mesh, "ratelimit-rls") == 1

    await until(is_asked, "the limiter's return")


async def told(caller: Caller, path: str) -> tuple[int, str | None]:
    """The status, and the reason of a refusal."""
    async with caller.session.get(path) as answer:
        return answer.status, (await answer.json()).get("reason")


async def test_closed_routes_refuse_and_open_ones_go_on_and_nothing_piles_up(
    wide_mesh: Mesh, caller: Caller, bystanders: BystandersOf
) -> None:
    def count(*names: str) -> int:
        return sum(
            envoy_stat(wide_mesh, f"cluster.{cluster}.{name}") for cluster in ("agent", "gateway") for name in names
        )

    async with bystanders(wide_mesh) as others:
        await others.quiet()
        errors, allowed = count("ratelimit.error"), count("ratelimit.failure_mode_allowed")
        async with silent_limiter(wide_mesh):
            refused = await asyncio.gather(*(told(caller, CLOSED) for _ in range(CALLS)))
            assert set(refused) == {(503, "LIMITER_UNAVAILABLE")}
            assert {await told(caller, OPEN) for _ in range(5)} == {(200, None)}
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await caller.agent.GetSession(pb.GetSessionRequest(session_id="s"), metadata=caller.metadata)
            assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
            assert count("ratelimit.error") - errors >= CALLS
            assert count("ratelimit.failure_mode_allowed") - allowed >= 5
            await until_nobody_asks(wide_mesh)
        await others.during("the limiter hangs")

    async def answers() -> bool:
        return await told(caller, CLOSED) == (404, "SESSION_NOT_FOUND")

    await until(answers, "an answer on the closed route")


async def until_nobody_asks(mesh: Mesh) -> None:
    async def nobody_asks() -> bool:
        waiting = ("upstream_rq_active", "upstream_rq_pending_active")
        return not any(envoy_stat(mesh, f"cluster.ratelimit-rls.{name}") for name in waiting)

    await until(nobody_asks, "the end of all questions to the limiter")


async def test_the_flood_guard_holds_without_it(wide_mesh: Mesh, caller: Caller) -> None:
    async def nobody_is_asked() -> bool:
        return await healthy(wide_mesh, "ratelimit-rls") == 0

    loop = asyncio.get_running_loop()
    async with silent_limiter(wide_mesh):
        await until(nobody_is_asked, "the limiter's way out of the pool")
        began = loop.time()
        statuses = await flood(wide_mesh)
        seconds = loop.time() - began
        assert (await told(caller, CLOSED))[0] == 503
    assert set(statuses) == {429, 503}
    assert statuses[503] <= BURST + PER_SECOND * (seconds + 1)


async def flood(mesh: Mesh) -> Counter[int]:
    """The statuses of many requests from one address."""
    connector = aiohttp.TCPConnector(local_addr=(FLOODER, 0), limit=50)
    async with aiohttp.ClientSession(mesh.url, connector=connector) as session:

        async def ask() -> int:
            async with session.get(CLOSED) as answer:
                return answer.status

        return Counter(await asyncio.gather(*(ask() for _ in range(FLOOD))))

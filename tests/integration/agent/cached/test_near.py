"""A replica that repeats for a moment what it found in the cache."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Iterator

import pytest

from shoal.agent.v1 import agent_pb2 as pb
from shoal.cache.v1 import cache_pb2
from tests.integration.agent.agent_process import AgentProcess, Caller
from tests.integration.agent.cached.cached_agent import SECONDS, asking, cached_agent, header_of
from tests.integration.cache.cache_process import CacheProcess
from tests.integration.cache.caller import RESPONSE, eventually
from tests.integration.cache.caller import Caller as CacheCaller
from tests.mesh_identity import signed
from tests.simulated_model import ModelProcess, Server


@pytest.fixture(scope="module")
def near_mesh(
    valkey_url: str, running_model: ModelProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[AgentProcess, CacheProcess]]:
    folder = tmp_path_factory.mktemp("near")
    with cached_agent(folder, redis_url=valkey_url, model_url=running_model.url, near_cache_seconds=0.7) as processes:
        yield processes


@pytest.fixture
async def acme(near_mesh: tuple[AgentProcess, CacheProcess], tenant: str) -> AsyncIterator[Caller]:
    async with Caller(near_mesh[0].address, signed(tenant)) as caller:
        yield caller


@pytest.fixture
async def cache(near_mesh: tuple[AgentProcess, CacheProcess], tenant: str) -> AsyncIterator[CacheCaller]:
    async with CacheCaller(near_mesh[1], signed(tenant)) as caller:
        yield caller


async def look_ups(cache: CacheCaller) -> int:
    return next(row.hits + row.misses for row in (await cache.stats()).policies if row.policy == RESPONSE)


def near_hits(agent: AgentProcess) -> float:
    with urllib.request.urlopen(f"http://{agent.metrics_address}/metrics") as response:
        lines = response.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith("shoal_near_cache_hits_total ")).split()[1])


async def test_what_was_found_is_repeated_without_asking_the_cache(
    near_mesh: tuple[AgentProcess, CacheProcess], acme: Caller, cache: CacheCaller
) -> None:
    async def is_repeated() -> bool:
        return await header_of(acme, asking("hello")) == "hit; level=near"

    first = await acme.execute(asking("hello"))
    before = await look_ups(cache)
    for _ in range(100):
        told = await acme.execute(asking("hello"))
        assert (told.output, told.usage, told.cache.status) == (first.output, first.usage, pb.CACHE_STATUS_HIT)
    assert await look_ups(cache) - before < 100
    await eventually(is_repeated, "a repeated answer", within_seconds=SECONDS)
    assert await asyncio.to_thread(near_hits, near_mesh[0]) > 0


async def test_what_was_invalidated_is_repeated_for_a_moment_only(
    acme: Caller, cache: CacheCaller, model: Server
) -> None:
    async def misses() -> bool:
        return (await acme.execute(asking("hello"))).cache.status == pb.CACHE_STATUS_MISS

    await acme.execute(asking("hello"))
    await acme.execute(asking("hello"))
    await cache.invalidate(cache_pb2.InvalidateRequest(everything=True))
    await eventually(misses, "the invalidation", within_seconds=SECONDS)
    await model.calls_reach(begun=2, completed=2)


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_what_was_refreshed_here_is_found_here(acme: Caller, *, is_streamed: bool) -> None:
    for ttl_seconds in (100, 200, 300):
        refresh = asking("hello", pb.CACHE_MODE_REFRESH, ttl_seconds=ttl_seconds)
        await (acme.events(refresh) if is_streamed else acme.execute(refresh))
        found = [(await acme.execute(asking("hello"))).cache.ttl_seconds for _ in range(3)]
        assert found == pytest.approx([ttl_seconds] * 3, rel=0.1)


async def test_a_plain_answer_that_is_repeated_names_its_turn_and_its_key(acme: Caller) -> None:
    async def is_repeated() -> bool:
        return (await acme.execute(asking("hello"))).cache.level == "near"

    first = await acme.execute(asking("hello"))
    await eventually(is_repeated, "a repeated answer", within_seconds=SECONDS)
    told = [await acme.execute(asking("hello")) for _ in range(10)]
    assert {answer.cache.key for answer in told} == {first.cache.key}
    assert {answer.output for answer in told} == {first.output}
    assert len({first.id, *(answer.id for answer in told)}) == 11
    assert all(answer.created.seconds >= first.created.seconds for answer in told)

"""How turns use the cache: modes, reports, settings, and what does not meet it."""

from pathlib import Path

import pytest

from meshkit.errors import Reason
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.agent.agent_process import AgentProcess, Caller, agent_process
from tests.integration.agent.cached.cached_agent import SECONDS, asking, header_of
from tests.integration.cache.cache_process import CacheProcess
from tests.integration.cache.caller import MODEL_OUTPUT, RESPONSE
from tests.integration.cache.caller import Caller as CacheCaller
from tests.mesh_identity import signed
from tests.refusal import refusal
from tests.simulated_model import Server


async def test_another_tenant_never_finds_an_answer(
    mesh: tuple[AgentProcess, CacheProcess], acme: Caller, model: Server, tenant: str
) -> None:
    first = await acme.execute(asking("hello"))
    async with Caller(mesh[0].address, signed(f"{tenant}-2")) as rival:
        second = await rival.execute(asking("hello"))
    assert second.cache.status == pb.CACHE_STATUS_MISS
    assert second.cache.key != first.cache.key
    await model.calls_reach(begun=2)


async def test_a_turn_reports_key_lifetime_and_whether_it_may_be_shared(acme: Caller) -> None:
    request = asking("hello", ttl_seconds=100, tags=["a"], public=True)
    stored, found = (await acme.execute(request)).cache, (await acme.execute(request)).cache
    assert (stored.status, stored.level, stored.stale) == (pb.CACHE_STATUS_MISS, "", False)
    assert 90 <= stored.ttl_seconds <= 100
    assert stored.stale_seconds == 60
    assert stored.public
    assert (found.status, found.level, found.key) == (pb.CACHE_STATUS_HIT, "l1", stored.key)
    assert (found.ttl_seconds, found.stale_seconds, found.public) == (stored.ttl_seconds, stored.stale_seconds, True)
    assert 0 <= found.age_seconds < SECONDS
    assert await header_of(acme, request) == "hit; level=l1"


async def test_a_turn_that_is_not_kept_reports_no_lifetime(acme: Caller) -> None:
    cut_off = pb.ExecuteRequest(task="hello [[tokens=9]]", sampling=pb.SamplingParameters(max_tokens=2))
    for _ in range(2):
        report = (await acme.execute(cut_off)).cache
        assert (report.status, report.ttl_seconds) == (pb.CACHE_STATUS_MISS, 0)


async def test_the_modes(acme: Caller, model: Server) -> None:
    error = await refusal(acme.execute(asking("hello", pb.CACHE_MODE_ONLY)))
    assert (error.reason, error.field) == (Reason.NOT_CACHED, "cache.mode")
    await model.calls_reach(begun=0)
    bypassed = await acme.execute(asking("hello", pb.CACHE_MODE_BYPASS))
    assert bypassed.cache == pb.CacheReport(status=pb.CACHE_STATUS_BYPASS)
    assert (await acme.execute(asking("hello"))).cache.status == pb.CACHE_STATUS_MISS
    assert (await acme.execute(asking("hello", pb.CACHE_MODE_ONLY))).cache.status == pb.CACHE_STATUS_HIT
    assert (await acme.execute(asking("hello", pb.CACHE_MODE_REFRESH))).cache.status == pb.CACHE_STATUS_MISS
    await model.calls_reach(begun=3, completed=3)


@pytest.mark.parametrize(
    "request_",
    [
        pb.ExecuteRequest(task="hello now"),
        pb.ExecuteRequest(task="Wie ist das Wetter heute?"),
        pb.ExecuteRequest(task='[[tool=send {"a": 1}]]', tools=[pb.Tool(name="send", has_side_effects=True)]),
    ],
)
async def test_what_asks_about_now_or_has_side_effects_is_asked_anew(
    acme: Caller, model: Server, request_: pb.ExecuteRequest
) -> None:
    for _ in range(2):
        assert (await acme.execute(request_)).cache.status != pb.CACHE_STATUS_HIT
    await model.calls_reach(begun=2)


async def test_words_that_ask_about_now_and_whether_models_outputs_are_kept_are_settings(
    valkey_url: str,
    model: Server,
    mesh: tuple[AgentProcess, CacheProcess],
    cache: CacheCaller,
    tenant: str,
    tmp_path: Path,
) -> None:
    async def asked() -> dict[int, int]:
        return {row.policy: row.hits + row.misses for row in (await cache.stats()).policies}

    settings = {"SHOAL_TIME_WORDS": "hello", "SHOAL_CACHE_MODEL_OUTPUT": "false"}
    address = {"SHOAL_MESH_ADDRESS": mesh[1].http1_address}
    with agent_process(tmp_path, redis_url=valkey_url, model_url=model.url, **address, **settings) as agent:
        async with Caller(agent.address, signed(tenant)) as acme:
            assert (await acme.execute(asking("hello"))).cache.status == pb.CACHE_STATUS_BYPASS
            before = await asked()
            assert (await acme.execute(asking("how are you now"))).cache.status == pb.CACHE_STATUS_MISS
            after = await asked()
    assert after[RESPONSE] == before[RESPONSE] + 1
    assert after[MODEL_OUTPUT] == before[MODEL_OUTPUT]

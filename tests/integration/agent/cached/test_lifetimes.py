"""Answers that have become stale or have expired."""

from pathlib import Path

from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.agent.agent_process import Caller
from tests.integration.agent.cached.cached_agent import SECONDS, asking, cached_agent, header_of
from tests.integration.cache.caller import MODEL_OUTPUT, eventually
from tests.integration.cache.caller import Caller as CacheCaller
from tests.mesh_identity import signed
from tests.simulated_model import ModelProcess, Server


async def test_a_stale_answer_is_given_at_once_and_computed_anew_beside_it(
    acme: Caller, cache: CacheCaller, model: Server
) -> None:
    request = asking("hello", ttl_seconds=1, tags=["a"])

    async def is_stale() -> bool:
        return await header_of(acme, request) == "hit; level=l1; stale"

    async def is_fresh() -> bool:
        return await header_of(acme, request) == "hit; level=l1"

    key = (await acme.execute(request)).cache.key
    await eventually(is_stale, "a stale hit", within_seconds=SECONDS)
    await eventually(is_fresh, "the renewal", within_seconds=SECONDS)
    await model.calls_reach(begun=2, completed=2)
    assert [list(entry.tags) for entry in (await cache.get(key)).entries] == [["a"], ["a"]]


async def test_who_computes_nothing_leaves_the_renewal_to_another(
    acme: Caller, cache: CacheCaller, model: Server
) -> None:
    async def is_stale() -> bool:
        return (await acme.execute(asking("hello", pb.CACHE_MODE_ONLY))).cache.stale

    key = (await acme.execute(asking("hello", ttl_seconds=1))).cache.key
    await eventually(is_stale, "a stale hit", within_seconds=SECONDS)
    assert (await cache.open(key)).hit.HasField("renewal")
    await model.calls_reach(begun=1, completed=1)


async def test_a_replica_that_stops_ends_its_renewals(
    valkey_url: str, running_model: ModelProcess, model: Server, tenant: str, tmp_path: Path
) -> None:
    slow = asking("one two three [[tokens=3]] [[tokens_per_second=3]]", ttl_seconds=1)
    with cached_agent(tmp_path, redis_url=valkey_url, model_url=running_model.url) as (agent, _):
        async with Caller(agent.address, signed(tenant)) as acme:

            async def renews() -> bool:
                await acme.execute(slow)
                return bool((await model.calls())["begun"] == 2)

            await eventually(renews, "the renewal", within_seconds=SECONDS)
    await model.calls_reach(begun=2, completed=1, cancelled=1)


async def test_an_answer_that_has_expired_is_made_of_the_models_output(
    valkey_url: str, running_model: ModelProcess, model: Server, tenant: str, tmp_path: Path
) -> None:
    policies = "response.ttl=1, response.stale=0"
    with cached_agent(tmp_path, redis_url=valkey_url, model_url=running_model.url, SHOAL_CACHE_POLICIES=policies) as (
        agent,
        process,
    ):
        async with Caller(agent.address, signed(tenant)) as acme, CacheCaller(process, signed(tenant)) as cache:
            first = await acme.execute(asking("hello"))

            async def has_expired() -> bool:
                return not await cache.finds(first.cache.key)

            await eventually(has_expired, "the end of the answer", within_seconds=SECONDS)
            second = await acme.execute(asking("hello"))
            stats = {row.policy: row for row in (await cache.stats()).policies}
    assert second.cache.status == pb.CACHE_STATUS_MISS
    assert (second.output, first.usage.from_cache) == (first.output, False)
    first.usage.from_cache = True
    assert second.usage == first.usage
    await model.calls_reach(begun=1, completed=1)
    assert stats[MODEL_OUTPUT].hits == 1
    assert stats[MODEL_OUTPUT].saved.output_tokens == first.usage.output_tokens

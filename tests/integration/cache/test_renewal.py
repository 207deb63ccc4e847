"""Stale answers: given out on, while one caller of all computes them anew."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

from shoal.cache.v1 import cache_pb2 as pb
from tests.integration.cache.cache_process import cache_process
from tests.integration.cache.caller import Caller, eventually
from tests.mesh_identity import signed

CALLERS = 40


async def test_of_many_callers_at_two_processes_one_is_asked_to_renew(
    valkey_url: str, state_url: str, tmp_path: Path, key: str
) -> None:
    with ExitStack() as stack:
        caches = [
            stack.enter_context(
                cache_process(
                    tmp_path,
                    redis_url=valkey_url,
                    state_url=state_url,
                    name=name,
                    SHOAL_CACHE_POLICIES="response.ttl=1, response.stale=600",
                )
            )
            for name in ("cache-1", "cache-2")
        ]
        async with Caller(caches[0], signed("acme")) as one, Caller(caches[1], signed("acme")) as other:
            kept = await one.keep(key, b"old")

            async def is_stale() -> bool:
                return (await one.get(key)).entries[0].age_seconds >= kept.ttl_seconds

            await eventually(is_stale, "the end of its time to live", within_seconds=20)
            assert not (await one.open(key, only=True)).hit.HasField("renewal")
            opened = await asyncio.gather(*(caller.open(key) for caller in [one, other] * CALLERS))
            assert {tuple(each.hit.events) for each in opened} == {(b"old",)}
            assert all(each.hit.age_seconds >= each.hit.ttl_seconds for each in opened)
            (renewal,) = [each.hit.renewal for each in opened if each.hit.HasField("renewal")]
            await one.keep(key, b"new", lead=renewal, ttl_seconds=600)
            for caller in (one, other):
                hit = (await caller.open(key)).hit
                assert (list(hit.events), hit.HasField("renewal")) == ([b"new"], False)
            stats = [row for caller in (one, other) for row in (await caller.stats()).policies[:1]]
            assert sum(row.stale_hits for row in stats) == 2 * CALLERS + 1
        shown = caches[0].metrics()
        assert shown['shoal_cache_lookups_total{outcome="stale",policy="response"}'] == CALLERS + 1


async def test_the_renewal_of_an_answer_that_is_invalidated_meanwhile_is_not_kept(
    valkey_url: str, state_url: str, tmp_path: Path, key: str
) -> None:
    with cache_process(
        tmp_path, redis_url=valkey_url, state_url=state_url, SHOAL_CACHE_POLICIES="response.ttl=1"
    ) as cache:
        async with Caller(cache, signed("acme")) as caller:
            await caller.keep(key, b"old")
            renewals: list[pb.Lead] = []

            async def is_asked_to_renew() -> bool:
                hit = (await caller.open(key)).hit
                renewals.extend([hit.renewal] if hit.HasField("renewal") else [])
                return bool(renewals)

            await eventually(is_asked_to_renew, "the end of its time to live", within_seconds=20)
            await caller.invalidate(pb.InvalidateRequest(key=key))
            assert not (await caller.keep(key, b"new", lead=renewals[0])).stored
            assert not await caller.finds(key)

"""The life of an answer: led, published, found near and far."""

import asyncio
from pathlib import Path

from shoal.cache.v1 import cache_pb2 as pb
from tests.backends import wait_until
from tests.integration.cache.cache_process import CacheProcess, cache_process
from tests.integration.cache.caller import CONTEXT, RESPONSE, Caller, append, begin, end
from tests.mesh_identity import signed

EVENTS = [b"started", b"Hel", b"lo", b"completed"]


async def test_whoever_opens_first_leads_and_then_finds_what_it_published(acme: Caller, key: str) -> None:
    opened = await acme.open(key)
    steps = [begin(key, lead=opened.lead), append(*EVENTS[:1]), append(*EVENTS[1:3]), append(), append(*EVENTS[3:])]
    published = await acme.publish([*steps, end()])
    assert published.stored
    assert published.size_bytes > len(b"".join(EVENTS))
    assert (0.9 * 3600 <= published.ttl_seconds <= 3600, published.stale_seconds) == (True, 60)
    hit = (await acme.open(key)).hit
    assert list(hit.events) == EVENTS
    assert (hit.level, hit.ttl_seconds, hit.stale_seconds) == ("l1", published.ttl_seconds, 60)
    assert 0 <= hit.age_seconds < 3600
    assert not hit.HasField("renewal")


async def test_the_case_of_a_key_does_not_matter(acme: Caller, key: str) -> None:
    await acme.keep(key.upper(), *EVENTS)
    assert await acme.finds(key)
    await acme.invalidate(pb.InvalidateRequest(key=key.upper()))
    assert not await acme.finds(key)


async def test_a_refresh_leads_although_there_is_an_answer_and_its_answer_replaces_the_other(
    acme: Caller, key: str
) -> None:
    await acme.keep(key, b"old")
    opened = await acme.open(key, refresh=True)
    assert opened.WhichOneof("outcome") == "lead"
    await acme.keep(key, b"fresh", lead=opened.lead)
    assert list((await acme.open(key)).hit.events) == [b"fresh"]


async def test_a_caller_may_say_how_long_its_answer_lives(acme: Caller, key: str) -> None:
    assert 90 <= (await acme.keep(key, b"answer", ttl_seconds=100)).ttl_seconds <= 100
    assert 90 <= (await acme.open(key)).hit.ttl_seconds <= 100


async def test_after_a_restart_the_answer_is_found_in_redis_and_promoted(
    valkey_url: str, state_url: str, tmp_path: Path, key: str
) -> None:
    with cache_process(tmp_path, redis_url=valkey_url, state_url=state_url) as cache:
        async with Caller(cache, signed("acme")) as caller:
            await caller.keep(key, *EVENTS)
    with cache_process(tmp_path, redis_url=valkey_url, state_url=state_url) as cache:
        async with Caller(cache, signed("acme")) as caller:
            first, second = (await caller.open(key)).hit, (await caller.open(key)).hit
    assert (first.level, second.level) == ("l2", "l1")
    assert list(first.events) == list(second.events) == EVENTS
    assert second.age_seconds >= first.age_seconds > 0
    assert first.ttl_seconds == second.ttl_seconds


async def test_a_publish_that_breaks_off_stores_nothing(cache: CacheProcess, acme: Caller, key: str) -> None:
    broken_off = acme.begin_publishing()
    await broken_off.write(begin(key, lead=await acme.lead(key)))
    await broken_off.write(append(*EVENTS))
    before = ended_publishes(cache)
    broken_off.cancel()
    await asyncio.to_thread(wait_until, lambda: ended_publishes(cache) > before, "the end of the call")
    assert not await acme.finds(key)


def ended_publishes(cache: CacheProcess) -> float:
    """How many calls of Publish the service has done with, however they ended."""
    return sum(
        value
        for name, value in cache.metrics().items()
        if name.startswith("shoal_rpc_seconds_count") and "/Publish" in name
    )


async def test_large_answers_come_back_whole(acme: Caller, key: str) -> None:
    events = [bytes([number]) * 1_000_000 for number in range(4)]
    steps = [begin(key, lead=await acme.lead(key)), *(append(event) for event in events), end()]
    assert (await acme.publish(steps)).stored
    assert list((await acme.open(key)).hit.events) == events
    assert [list(each.events) for each in (await acme.get(key)).entries] == [events, events]


async def test_every_policy_of_the_proto_can_be_used_and_keeps_its_answers_apart(acme: Caller, key: str) -> None:
    policies = pb.Policy.values()[1:]
    for policy in policies:
        await acme.keep(key, b"%d" % policy, policy=policy)
    for policy in policies:
        assert list((await acme.open(key, policy)).hit.events) == [b"%d" % policy]


async def test_of_a_conversation_the_last_ten_turns_are_kept(acme: Caller, key: str) -> None:
    turns = [b"%d" % number for number in range(12)]
    await acme.keep(key, *turns, policy=CONTEXT)
    assert list((await acme.open(key, CONTEXT)).hit.events) == turns[2:]


async def test_an_answer_over_the_limit_is_not_stored_and_that_is_no_error(
    valkey_url: str, state_url: str, tmp_path: Path, key: str
) -> None:
    settings = {"SHOAL_ENTRY_MAX_BYTES": "2000", "SHOAL_CACHE_POLICIES": "response.max_bytes=1000"}
    with cache_process(tmp_path, redis_url=valkey_url, state_url=state_url, **settings) as cache:
        async with Caller(cache, signed("acme")) as caller:
            response = await caller.keep(key, *[bytes(400)] * 4)
            assert (response.stored, response.size_bytes > 1600, response.ttl_seconds) == (False, True, 0)
            assert not await caller.finds(key)
            assert (await caller.keep(key, *[bytes(400)] * 4, policy=CONTEXT)).stored
            too_large = {row.policy: row.too_large for row in (await caller.stats()).policies}
            assert too_large[RESPONSE] == 1
        assert cache.metrics()['shoal_cache_too_large_total{policy="response"}'] == 1


async def test_keys_that_differ_in_a_few_digits_are_different_answers(acme: Caller, key: str) -> None:
    keys = [f"{number:03d}{key[3:]}" for number in range(600)]
    lead = await acme.lead(key, CONTEXT)
    limit = asyncio.Semaphore(20)

    async def keep(own: str) -> None:
        async with limit:
            await acme.keep(own, own.encode(), policy=CONTEXT, lead=lead)

    await asyncio.gather(*map(keep, keys[:300]))
    for number, own in enumerate(keys):
        found = (await acme.open(own, CONTEXT)).hit
        assert list(found.events) == ([own.encode()] if number < 300 else [])


async def test_stats_and_metrics_tell_how_each_level_and_policy_was_used(
    tmp_path: Path, valkey_url: str, state_url: str
) -> None:
    keys = [f"{number:064x}" for number in range(3)]
    worth = pb.Worth(input_tokens=100, output_tokens=20, cost_usd=0.5)
    with cache_process(
        tmp_path, redis_url=valkey_url, state_url=state_url, name="cache-2", SHOAL_L1_MAX_ENTRIES="2"
    ) as cache:
        async with Caller(cache, signed("counted")) as caller:
            for key in keys:
                lead = (await caller.open(key)).lead
                await caller.keep(key, *EVENTS, lead=lead, worth=worth)
            found_at = [(await caller.open(key)).hit.level for key in reversed(keys)]
            await caller.get(keys[0])
            stats = await caller.stats()
        metrics = cache.metrics()
    assert found_at == ["l1", "l1", "l2"]
    held = stats.levels[0].size_bytes
    assert held > 0
    assert stats.replica == "cache-2"
    near = pb.LevelStats(level="l1", hits=2, misses=4, stores=4)
    far = pb.LevelStats(level="l2", hits=1, misses=3, stores=3)
    saved = pb.Worth(input_tokens=300, output_tokens=60, cost_usd=1.5)
    assert stats.policies[0] == pb.PolicyStats(
        policy=RESPONSE, hits=3, misses=3, levels=[near, far], saved=saved, ttl_seconds=3600
    )
    near.MergeFrom(pb.LevelStats(evictions=2, entries=2, size_bytes=held))
    assert list(stats.levels) == [near, far, pb.LevelStats(level="l3")]
    for row in (near, far):
        for field in ("hits", "misses", "failures", "stores", "corrupt"):
            name = f'shoal_cache_{field}_total{{level="{row.level}",policy="response"}}'
            assert metrics[name] == getattr(row, field)
    held_where = {name: value for name, value in metrics.items() if name.startswith("shoal_cache_entries")}
    assert held_where == {'shoal_cache_entries{level="l1"}': 2}, "shared levels do not know"
    assert metrics['shoal_cache_evictions_total{level="l1"}'] == 2
    assert metrics['shoal_cache_size_bytes{level="l1"}'] == held
    assert metrics['shoal_cache_lookups_total{outcome="hit",policy="response"}'] == 3
    assert metrics['shoal_cache_saved_tokens_total{kind="input",policy="response"}'] == 300
    assert metrics['shoal_cache_saved_usd_total{policy="response"}'] == 1.5

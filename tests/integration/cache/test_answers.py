"""The life of an answer: led, published, found near and far."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

from shoal.cache.v1 import cache_pb2
from tests import backends
from tests.backends import wait_until
from tests.integration.cache.cache_process import CacheProcess, Caller, append, begin, cache_process, end, signed

EVENTS = [b"started", b"Hel", b"lo", b"completed"]


def answer(key: str) -> list[cache_pb2.PublishRequest]:
    return [begin(key), append(*EVENTS[:1]), append(*EVENTS[1:3]), append(), append(*EVENTS[3:]), end()]


async def test_whoever_opens_first_leads_and_then_finds_what_it_published(acme: Caller, key: str) -> None:
    assert (await acme.open(key)).WhichOneof("outcome") == "lead"
    published = await acme.publish(answer(key))
    assert published.stored
    assert published.size_bytes > len(b"".join(EVENTS))
    hit = (await acme.open(key)).hit
    assert list(hit.events) == EVENTS
    assert hit.level == "l1"
    assert 0 <= hit.age_seconds < 3600


async def test_the_case_of_a_key_does_not_matter(acme: Caller, key: str) -> None:
    await acme.publish(answer(key.upper()))
    assert (await acme.open(key)).HasField("hit")


async def test_a_later_answer_replaces_an_earlier_one(acme: Caller, key: str) -> None:
    await acme.publish(answer(key))
    await acme.publish([begin(key), append(b"fresh"), end()])
    assert list((await acme.open(key)).hit.events) == [b"fresh"]


async def test_after_a_restart_the_answer_is_found_in_redis_and_promoted(
    valkey_url: str, tmp_path: Path, key: str
) -> None:
    with cache_process(tmp_path, redis_url=valkey_url) as cache:
        async with Caller(cache, signed("acme")) as caller:
            await caller.publish(answer(key))
    with cache_process(tmp_path, redis_url=valkey_url) as cache:
        async with Caller(cache, signed("acme")) as caller:
            first, second = (await caller.open(key)).hit, (await caller.open(key)).hit
    assert (first.level, second.level) == ("l2", "l1")
    assert list(first.events) == list(second.events) == EVENTS
    assert second.age_seconds >= first.age_seconds > 0


async def test_another_tenant_always_leads(cache: CacheProcess, acme: Caller, key: str) -> None:
    await acme.publish(answer(key))
    async with Caller(cache, signed("rival")) as rival, Caller(cache, signed("acme/response")) as namesake:
        assert (await rival.open(key)).HasField("lead")
        assert (await namesake.open(key)).HasField("lead")
        await rival.publish([begin(key), append(b"of the rival"), end()])
    assert list((await acme.open(key)).hit.events) == EVENTS


async def test_a_publish_that_breaks_off_stores_nothing(cache: CacheProcess, acme: Caller, key: str) -> None:
    broken_off = acme.begin_publishing()
    await broken_off.write(begin(key))
    await broken_off.write(append(*EVENTS))
    before = ended_publishes(cache)
    broken_off.cancel()
    await asyncio.to_thread(wait_until, lambda: ended_publishes(cache) > before, "the end of the call")
    assert (await acme.open(key)).HasField("lead")


def ended_publishes(cache: CacheProcess) -> float:
    """How many calls of Publish the service has done with, however they ended."""
    return sum(
        value
        for name, value in cache.metrics().items()
        if name.startswith("shoal_rpc_seconds_count") and "/Publish" in name
    )


async def test_an_answer_over_the_limit_is_not_stored_and_that_is_no_error(valkey_url: str, tmp_path: Path) -> None:
    key = "ab" * 32
    with cache_process(tmp_path, redis_url=valkey_url, SHOAL_ENTRY_MAX_BYTES="1000") as cache:
        async with Caller(cache, signed("big-answers")) as caller:
            response = await caller.publish([begin(key), *(append(bytes(400)) for _ in range(4)), end()])
            assert (response.stored, response.size_bytes > 1600) == (False, True)
            assert (await caller.open(key)).HasField("lead")


async def test_large_answers_come_back_whole(acme: Caller, key: str) -> None:
    events = [bytes([number]) * 1_000_000 for number in range(4)]
    assert (await acme.publish([begin(key), *(append(event) for event in events), end()])).stored
    assert list((await acme.open(key)).hit.events) == events


async def test_every_policy_of_the_proto_can_be_used(acme: Caller, key: str) -> None:
    for policy in cache_pb2.Policy.values():
        if policy != cache_pb2.POLICY_UNSPECIFIED:
            await acme.publish([begin(key, policy), append(b"answer"), end()])
            assert (await acme.open(key, policy)).HasField("hit")


async def test_when_redis_goes_answers_are_kept_in_memory_and_nothing_fails(tmp_path: Path, key: str) -> None:
    other_key = "cd" * 32
    with ExitStack() as life_of_redis:
        redis_url = life_of_redis.enter_context(backends.valkey(tmp_path))
        with cache_process(tmp_path, redis_url=redis_url) as cache:
            async with Caller(cache, signed("acme")) as caller:
                await caller.publish(answer(key))
                life_of_redis.close()
                assert (await caller.open(key)).hit.level == "l1"
                assert (await caller.open(other_key)).HasField("lead")
                assert (await caller.publish(answer(other_key))).stored
                assert (await caller.open(other_key)).hit.level == "l1"
                assert (await caller.stats())["l2"].failures == 2


async def test_stats_and_metrics_tell_how_each_level_was_used(tmp_path: Path, valkey_url: str) -> None:
    keys = [f"{number:064x}" for number in range(3)]
    with cache_process(tmp_path, redis_url=valkey_url, SHOAL_L1_MAX_ENTRIES="2") as cache:
        async with Caller(cache, signed("counted")) as caller:
            for key in keys:
                await caller.open(key)
                await caller.publish(answer(key))
            found_at = [(await caller.open(key)).hit.level for key in reversed(keys)]
            stats = await caller.stats()
        metrics = cache.metrics()
    assert found_at == ["l1", "l1", "l2"]
    held = stats["l1"].size_bytes
    assert held > 0
    assert stats == {
        "l1": cache_pb2.LevelStats(level="l1", hits=2, misses=4, stores=4, evictions=2, entries=2, size_bytes=held),
        "l2": cache_pb2.LevelStats(level="l2", hits=1, misses=3, stores=3),
    }
    for level, row in stats.items():
        for field in ("hits", "misses", "failures", "stores", "evictions"):
            assert metrics[f'shoal_cache_{field}_total{{level="{level}"}}'] == getattr(row, field)
        assert metrics[f'shoal_cache_entries{{level="{level}"}}'] == row.entries
        assert metrics[f'shoal_cache_size_bytes{{level="{level}"}}'] == row.size_bytes

"""What every bucket store does, and what only the one in Redis can get wrong."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from meshkit.errors import Reason, ShoalError
from meshkit.redis import open_redis
from services.ratelimit.bucket import MICROS_PER_SECOND, Decision, Limit, Spend
from services.ratelimit.bucket_store import BucketStore, InMemoryBucketStore
from services.ratelimit.redis_bucket_store import RedisBucketStore
from tests.ports import free_port

START = 1_800_000_000 * MICROS_PER_SECOND
FREE = Limit(1, 10)
# Buckets in Redis expire by the server's own clock. These fill so slowly that none does during a test.
SLOW = [Limit(0.001, 3), Limit(0.007, 50), Limit(0.1, 1_000_000)]


@dataclass
class Clock:
    """Time in the hands of a test, in microseconds."""

    now: int = START

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def redis_url(valkey_url: str) -> str:
    """A database that these tests may empty."""
    return valkey_url.removesuffix("/0") + "/9"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url, timeout_seconds=5) as client:
        await client.flushdb()
        yield client


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest, clock: Clock) -> BucketStore:
    if request.param == "memory":
        return InMemoryBucketStore(clock)
    return RedisBucketStore(request.getfixturevalue("redis"), clock=clock)


def remaining(decision: Decision) -> list[int]:
    return [holding.remaining for holding in decision.holdings]


async def test_a_new_bucket_is_full_and_pays_until_it_is_empty(store: BucketStore) -> None:
    assert remaining(await store.take([Spend("a", FREE, 0)])) == [10]
    assert remaining(await store.take([Spend("a", FREE, 7)])) == [3]
    refused = await store.take([Spend("a", FREE, 4)])
    assert not refused.allowed
    assert refused.retry_after_micros == MICROS_PER_SECOND
    assert remaining(refused) == [3]
    assert remaining(await store.take([Spend("a", FREE, 3)])) == [0]


async def test_waiting_exactly_as_told_passes(store: BucketStore, clock: Clock) -> None:
    limit = Limit(0.007, 5)
    await store.take([Spend("a", limit, 5)])
    refused = await store.take([Spend("a", limit, 1)])
    assert refused.retry_after_micros == 142_857_143
    clock.now += refused.retry_after_micros - 1
    assert not (await store.take([Spend("a", limit, 1)])).allowed
    clock.now += 1
    assert (await store.take([Spend("a", limit, 1)])).allowed


async def test_all_buckets_pay_or_none(store: BucketStore) -> None:
    await store.take([Spend("{x}:poor", FREE, 9)])
    spends = [Spend("{x}:rich", Limit(10, 50), 2), Spend("{x}:poor", FREE, 2)]
    refused = await store.take(spends)
    assert not refused.allowed
    assert remaining(refused) == [50, 1]
    assert remaining(await store.take([Spend("{x}:rich", Limit(10, 50), 50)])) == [0]


async def test_many_at_once_get_no_more_than_the_bucket_holds(store: BucketStore) -> None:
    decisions = await asyncio.gather(*(store.take([Spend("a", FREE, 1)]) for _ in range(100)))
    assert sum(decision.allowed for decision in decisions) == 10


async def test_a_clock_that_steps_back_freezes_nobody(store: BucketStore, clock: Clock) -> None:
    await store.take([Spend("a", FREE, 10)])
    clock.now -= 3600 * MICROS_PER_SECOND
    assert not (await store.take([Spend("a", FREE, 1)])).allowed
    clock.now += MICROS_PER_SECOND
    assert (await store.take([Spend("a", FREE, 1)])).allowed


@pytest.mark.parametrize("seed", range(10))
async def test_the_same_history_gives_the_same_answers_in_memory_and_in_redis(redis: Redis, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a repeatable history is wanted, not a secret
    clock = Clock()
    in_memory, in_redis = InMemoryBucketStore(clock), RedisBucketStore(redis, clock=clock)
    for _ in range(80):
        clock.now += int(chance.choice([-1, 1, 1, 1]) * 10 ** chance.uniform(0, 10))
        spends = [_random_spend(chance, number) for number in chance.sample(range(3), chance.randint(1, 3))]
        assert await in_redis.take(spends) == await in_memory.take(spends)


def _random_spend(chance: random.Random, number: int) -> Spend:
    limit = SLOW[number]
    return Spend(f"{{x}}:{number}", limit, chance.choice([0, 1, 1, 2, chance.randint(0, limit.capacity)]))


async def test_a_refusal_and_a_look_write_nothing(redis: Redis) -> None:
    store = RedisBucketStore(redis)
    slow = Limit(0.001, 5)
    await store.take([Spend("{x}:looked-at", slow, 0)])
    await store.take([Spend("{x}:a", slow, 5)])
    before = await redis.get("{x}:a")
    assert not (await store.take([Spend("{x}:a", slow, 1), Spend("{x}:other", slow, 1)])).allowed
    assert await redis.get("{x}:a") == before
    assert await redis.keys() == [b"{x}:a"]


async def test_a_bucket_expires_when_it_is_full_and_is_full_when_expired(redis: Redis) -> None:
    store = RedisBucketStore(redis)
    decision = await store.take([Spend("a", FREE, 10)])
    assert decision.holdings[0].full_in_micros == 10_000_000
    assert 10_000 < await redis.pttl("a") <= 11_000
    await redis.delete("a")
    assert remaining(await store.take([Spend("a", FREE, 1)])) == [9]


async def test_without_a_clock_the_time_of_the_server_counts(redis: Redis) -> None:
    before = await redis.time()
    await RedisBucketStore(redis).take([Spend("a", FREE, 1)])
    after = await redis.time()
    _, written = (await redis.get("a") or b"").split()
    assert _micros(before) <= int(written) <= _micros(after)


def _micros(time: tuple[int, int]) -> int:
    return time[0] * MICROS_PER_SECOND + time[1]


async def test_a_server_that_lost_the_script_is_given_it_again(redis: Redis) -> None:
    store = RedisBucketStore(redis)
    slow = Limit(0.001, 5)
    await store.take([Spend("a", slow, 1)])
    await redis.script_flush()
    assert remaining(await store.take([Spend("a", slow, 1)])) == [3]


async def test_the_script_travels_once_and_its_digest_afterwards(redis: Redis) -> None:
    store = RedisBucketStore(redis)
    await redis.script_flush()
    await redis.config_resetstat()
    for _ in range(5):
        await store.take([Spend("a", FREE, 1)])
    calls = {name: row["calls"] for name, row in (await redis.info("commandstats")).items()}
    assert calls["cmdstat_evalsha"] == 6
    assert calls["cmdstat_script|load"] == 1


async def test_a_call_that_was_cancelled_leaves_no_answer_for_the_next(redis_url: str, redis: Redis) -> None:
    async with open_redis(redis_url, timeout_seconds=5, connections=2) as client:
        store = RedisBucketStore(client)
        for turn in range(50):
            cut_off = asyncio.create_task(store.take([Spend("mine", Limit(0.001, 1000), 1)]))
            for _ in range(turn % 8):
                await asyncio.sleep(0)
            cut_off.cancel()
            await asyncio.gather(cut_off, return_exceptions=True)
            assert remaining(await store.take([Spend(f"other-{turn}", FREE, 3)])) == [7]


@pytest.mark.parametrize("fault", ["nobody listens", "wrong kind of key"])
async def test_redis_that_cannot_be_used_is_an_error_that_says_so(redis: Redis, fault: str) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    await redis.lpush("a", "a list")
    async with open_redis(url, timeout_seconds=1) as absent:
        store = RedisBucketStore(absent if fault == "nobody listens" else redis)
        with pytest.raises(ShoalError) as refused:
            await store.take([Spend("a", FREE, 1)])
    assert refused.value.reason is Reason.LIMITER_UNAVAILABLE

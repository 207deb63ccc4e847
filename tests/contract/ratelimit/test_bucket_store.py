"""What every bucket store does, and what only the one in Redis can get wrong."""

import asyncio
import random
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from load.measuring.ports import free_port
from meshkit.redis import open_redis
from services.ratelimit.buckets.bucket import MICROS_PER_SECOND, Decision, Limit, Mode, Spend
from services.ratelimit.buckets.bucket_store import BucketStore, BucketsUnreachableError, InMemoryBucketStore
from services.ratelimit.buckets.redis_bucket_store import RedisBucketStore
from tests.contract.ratelimit.clock import Clock

FREE = Limit(1, 10)


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
    await store.take([Spend("poor", FREE, 9)])
    spends = [Spend("rich", Limit(10, 50), 2), Spend("poor", FREE, 2)]
    refused = await store.take(spends)
    assert not refused.allowed
    assert remaining(refused) == [50, 1]
    assert remaining(await store.take([Spend("rich", Limit(10, 50), 50)])) == [0]


async def test_many_at_once_get_no_more_than_the_bucket_holds(store: BucketStore) -> None:
    decisions = await asyncio.gather(*(store.take([Spend("a", FREE, 1)]) for _ in range(100)))
    assert sum(decision.allowed for decision in decisions) == 10


async def test_a_clock_that_steps_back_freezes_nobody(store: BucketStore, clock: Clock) -> None:
    await store.take([Spend("a", FREE, 10)])
    clock.now -= 3600 * MICROS_PER_SECOND
    assert not (await store.take([Spend("a", FREE, 1)])).allowed
    clock.now += MICROS_PER_SECOND
    assert (await store.take([Spend("a", FREE, 1)])).allowed


async def test_a_shadow_refuses_nothing_and_shows_that_it_would_have(store: BucketStore) -> None:
    spends = [Spend("held", Limit(10, 50), 1), Spend("tried", FREE, 10, Mode.SHADOW)]
    assert remaining(await store.take(spends)) == [49, 0]
    decision = await store.take(spends)
    assert decision.allowed
    assert decision.retry_after_micros == 0
    assert [holding.wait_micros for holding in decision.holdings] == [0, 10 * MICROS_PER_SECOND]
    assert remaining(decision) == [48, 0]


async def test_a_charge_is_taken_all_the_same_and_its_debt_paid_back_first(store: BucketStore, clock: Clock) -> None:
    await store.take([Spend("a", FREE, 4)])
    for _ in range(2):
        assert (await store.take([Spend("a", FREE, 10, Mode.CHARGED)])).allowed
    refused = await store.take([Spend("a", FREE, 1)])
    assert refused.retry_after_micros == 11 * MICROS_PER_SECOND
    clock.now += refused.retry_after_micros
    assert (await store.take([Spend("a", FREE, 1)])).allowed


async def test_what_is_given_back_never_overfills(store: BucketStore) -> None:
    await store.take([Spend("a", FREE, 4)])
    assert remaining(await store.take([Spend("a", FREE, -3)])) == [9]
    assert remaining(await store.take([Spend("a", FREE, -(2**40))])) == [10]
    assert remaining(await store.take([Spend("a", FREE, 10)])) == [0]


async def test_a_changed_limit_keeps_the_whole_tokens(store: BucketStore) -> None:
    await store.take([Spend("a", FREE, 4)])
    assert remaining(await store.take([Spend("a", Limit.per(7, 60, capacity=50), 0)])) == [6]
    assert remaining(await store.take([Spend("a", Limit(3, 5), 1)])) == [4]
    assert remaining(await store.take([Spend("a", FREE, 0)])) == [4]


async def test_who_waits_exactly_as_told_is_let_through_1000_times(store: BucketStore, clock: Clock) -> None:
    chance = random.Random(1)  # noqa: S311 - a repeatable history is wanted, not a secret
    for history in range(1000):
        sizes = [_random_limit(chance) for _ in range(chance.randint(1, 3))]
        while True:
            spends = [_random_spend(chance, f"{history}:{place}", size) for place, size in enumerate(sizes)]
            clock.now += chance.randint(0, 10**6)
            refused = await store.take(spends)
            if not refused.allowed:
                break
        clock.now += refused.retry_after_micros - 1
        too_early = await store.take(spends)
        assert (too_early.allowed, too_early.retry_after_micros) == (False, 1)
        clock.now += 1
        assert (await store.take(spends)).allowed


def _random_limit(chance: random.Random) -> Limit:
    """Buckets in Redis expire by the server's own clock, so these take seconds to gain a token."""
    return Limit(Fraction(chance.randint(1, 999), chance.choice([1999, 3000, 3600, 10_000])), chance.randint(1, 20))


def _random_spend(chance: random.Random, bucket: str, limit: Limit) -> Spend:
    mode = chance.choice([Mode.ENFORCED] * 4 + [Mode.SHADOW, Mode.CHARGED]) if limit.capacity > 1 else Mode.ENFORCED
    return Spend(bucket, limit, chance.randint(1, limit.capacity), mode)


# Some have grains of the same size and gain at different rates, as a limit may that was changed.
LIMITS = [Limit(0.001, 3), Limit(0.003, 3), Limit(0.003, 50), Limit(Fraction(1, 60), 7), Limit(0.1, 1_000_000)]


@st.composite
def spends_of(draw: st.DrawFn, bucket: str) -> Spend:
    limit = draw(st.sampled_from(LIMITS))
    cost = draw(st.integers(-limit.capacity, limit.capacity) | st.sampled_from([0, 1, limit.capacity]))
    return Spend(bucket, limit, cost, draw(st.sampled_from(Mode)))


wishes = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3, unique=True).flatmap(
    lambda buckets: st.tuples(*(spends_of(bucket) for bucket in buckets))
)
passing = st.integers(0, 10**6) | st.integers(0, 10**10) | st.integers(-(10**8), 0)
histories = st.lists(st.tuples(passing, st.lists(wishes, min_size=1, max_size=4)), max_size=12)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories)
async def test_the_same_history_gives_the_same_answers_in_memory_and_in_redis(
    redis: Redis, history: list[tuple[int, list[tuple[Spend, ...]]]]
) -> None:
    await redis.flushdb()
    clock = Clock()
    in_memory, in_redis = InMemoryBucketStore(clock), RedisBucketStore(redis, clock=clock)
    for passed, together in history:
        clock.now += passed
        assert await in_redis.take_each(together) == [await in_memory.take(wish) for wish in together]


async def test_a_refusal_and_a_look_write_nothing(redis: Redis) -> None:
    store = RedisBucketStore(redis)
    slow = Limit(0.001, 5)
    await store.take([Spend("looked-at", slow, 0)])
    await store.take([Spend("a", slow, 5)])
    before = await redis.get("a")
    assert not (await store.take([Spend("a", slow, 1), Spend("other", slow, 1)])).allowed
    assert await redis.get("a") == before
    assert await redis.keys() == [b"a"]


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
    _, written, _ = (await redis.get("a") or b"").split()
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


async def test_a_key_of_another_kind_is_written_over(redis: Redis) -> None:
    store = RedisBucketStore(redis)
    await redis.lpush("list", "x")
    await redis.set("text", "no bucket")
    spends = [Spend("list", FREE, 1), Spend("text", FREE, 1)]
    assert remaining(await store.take(spends)) == [9, 9]
    assert remaining(await store.take(spends)) == [8, 8]


async def test_redis_that_is_not_there_is_told_as_such() -> None:
    async with open_redis(f"redis://127.0.0.1:{free_port()}/0", timeout_seconds=1) as absent:
        with pytest.raises(BucketsUnreachableError):
            await RedisBucketStore(absent).take([Spend("a", FREE, 1)])


async def test_redis_that_is_full_is_told_as_such(redis: Redis) -> None:
    await redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(BucketsUnreachableError):
            await RedisBucketStore(redis).take([Spend("a", FREE, 1)])
    finally:
        await redis.config_set("maxmemory", "0")

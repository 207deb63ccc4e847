"""What every reservation store does, and what only the one in Redis can get wrong."""

import asyncio
import random

import pytest
from redis.asyncio import Redis

from load.measuring.ports import free_port
from meshkit.redis import open_redis
from services.ratelimit.buckets.bucket import MICROS_PER_SECOND, Limit
from services.ratelimit.buckets.bucket_store import BucketsUnreachableError
from services.ratelimit.limits import CallerLimits, ConcurrencyLimit, RateLimit
from services.ratelimit.reservations.redis_reservation_store import RedisReservationStore
from services.ratelimit.reservations.reservation import LONGEST_TTL_MICROS, Answer, Outcome, Request
from services.ratelimit.reservations.reservation_store import InMemoryReservationStore, ReservationStore
from tests.contract.ratelimit.clock import Clock

MINUTE = 60 * MICROS_PER_SECOND
CALLER = "key_1"
REQUESTS = RateLimit("free", Limit(1, 10))
# What is kept in Redis expires by the server's own clock. This bucket fills so slowly that it does not during a test.
THOUSAND = Limit(0.1, 1000)
TOKENS = CallerLimits(REQUESTS, model_tokens=RateLimit("free", THOUSAND))
PLACES = CallerLimits(REQUESTS, concurrent=ConcurrencyLimit("free", 2))
BOTH = CallerLimits(REQUESTS, RateLimit("free", THOUSAND), ConcurrencyLimit("free", 2))
SHADOWS = CallerLimits(REQUESTS, RateLimit("free", THOUSAND, shadow=True), ConcurrencyLimit("free", 2, shadow=True))
NO_LIMITS_NOW = CallerLimits(REQUESTS)


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest, clock: Clock) -> ReservationStore:
    if request.param == "memory":
        return InMemoryReservationStore(clock)
    return RedisReservationStore(request.getfixturevalue("redis"), timeout_seconds=5, clock=clock)


def wish(name: str, tokens: int = 0, *, ttl_micros: int = MINUTE) -> Request:
    return Request(name, tokens, ttl_micros)


def tokens_left(answer: Answer) -> int:
    assert answer.model_tokens is not None
    return answer.model_tokens.remaining


def places_taken(answer: Answer) -> int:
    assert answer.places is not None
    return answer.places.taken


async def snapshot(redis: Redis) -> dict[bytes | str, bytes | None]:
    """Everything that is kept."""
    return {key: await redis.dump(key) for key in await redis.keys()}


async def writes(redis: Redis) -> int:
    """How often anything was written."""
    return int((await redis.info("persistence"))["rdb_changes_since_last_save"])


async def test_a_reservation_takes_tokens_and_a_place_and_settling_puts_what_was_used_in_their_place(
    store: ReservationStore,
) -> None:
    reserved = await store.reserve(CALLER, BOTH, wish("a", 600))
    assert (reserved.outcome, tokens_left(reserved), places_taken(reserved)) == (Outcome.DONE, 400, 1)
    settled = await store.settle(CALLER, BOTH, "a", 250)
    assert (settled.outcome, tokens_left(settled), places_taken(settled)) == (Outcome.DONE, 750, 0)


async def test_tokens_and_a_place_are_taken_both_or_neither(store: ReservationStore) -> None:
    await store.reserve(CALLER, BOTH, wish("a", 900))
    too_many = await store.reserve(CALLER, BOTH, wish("b", 101))
    assert (too_many.outcome, tokens_left(too_many), places_taken(too_many)) == (Outcome.NOTHING_DONE, 100, 1)
    await store.reserve(CALLER, BOTH, wish("c"))
    no_place = await store.reserve(CALLER, BOTH, wish("d", 1))
    assert (no_place.outcome, tokens_left(no_place), places_taken(no_place)) == (Outcome.NOTHING_DONE, 100, 2)
    assert no_place.places is not None
    assert no_place.places.was_full
    assert no_place.model_tokens is not None
    assert no_place.model_tokens.wait_micros == 0


async def test_waiting_exactly_as_told_passes(store: ReservationStore, clock: Clock) -> None:
    await store.reserve(CALLER, TOKENS, wish("a", 1000, ttl_micros=LONGEST_TTL_MICROS))
    refused = await store.reserve(CALLER, TOKENS, wish("b", 7))
    assert refused.model_tokens is not None
    assert refused.model_tokens.wait_micros == 70 * MICROS_PER_SECOND
    clock.now += refused.model_tokens.wait_micros - 1
    assert (await store.reserve(CALLER, TOKENS, wish("b", 7))).outcome is Outcome.NOTHING_DONE
    clock.now += 1
    assert (await store.reserve(CALLER, TOKENS, wish("b", 7))).outcome is Outcome.DONE


async def test_reserving_again_under_the_same_name_changes_nothing(store: ReservationStore, clock: Clock) -> None:
    first = await store.reserve(CALLER, BOTH, wish("a", 600))
    again = await store.reserve(CALLER, BOTH, wish("a", 600))
    assert again == first
    clock.now += MINUTE
    assert places_taken(await store.peek(CALLER, BOTH)) == 0


async def test_settling_twice_counts_once(store: ReservationStore) -> None:
    await store.reserve(CALLER, BOTH, wish("a", 600))
    await store.settle(CALLER, BOTH, "a", 100)
    again = await store.settle(CALLER, BOTH, "a", 500)
    assert (again.outcome, tokens_left(again)) == (Outcome.NOTHING_DONE, 900)


async def test_a_settled_name_cannot_be_reserved_again(store: ReservationStore) -> None:
    await store.reserve(CALLER, BOTH, wish("a", 600))
    await store.settle(CALLER, BOTH, "a", 600)
    again = await store.reserve(CALLER, BOTH, wish("a", 100))
    assert (again.outcome, tokens_left(again), places_taken(again)) == (Outcome.NAME_SPENT, 400, 0)


async def test_who_is_killed_leaks_nothing(store: ReservationStore, clock: Clock) -> None:
    await store.reserve(CALLER, BOTH, wish("a", 500, ttl_micros=MINUTE))
    await store.reserve(CALLER, BOTH, wish("b", 400, ttl_micros=2 * MINUTE))
    clock.now += MINUTE - 1
    before = await store.peek(CALLER, BOTH)
    assert (tokens_left(before), places_taken(before)) == (105, 2)
    clock.now += 1
    after = await store.peek(CALLER, BOTH)
    assert (tokens_left(after), places_taken(after)) == (606, 1)
    clock.now += MINUTE
    assert (await store.reserve(CALLER, BOTH, wish("c", 1000))).outcome is Outcome.DONE


async def test_a_reservation_that_is_renewed_lasts_on(store: ReservationStore, clock: Clock) -> None:
    await store.reserve(CALLER, BOTH, wish("a", 500))
    clock.now += MINUTE - 1
    assert (await store.renew(CALLER, BOTH, "a", MINUTE)).outcome is Outcome.DONE
    clock.now += MINUTE - 1
    assert places_taken(await store.peek(CALLER, BOTH)) == 1
    clock.now += 1
    assert (await store.renew(CALLER, BOTH, "a", MINUTE)).outcome is Outcome.NOTHING_DONE
    assert places_taken(await store.peek(CALLER, BOTH)) == 0


async def test_what_was_settled_or_never_reserved_cannot_be_renewed(store: ReservationStore) -> None:
    await store.reserve(CALLER, BOTH, wish("a"))
    await store.settle(CALLER, BOTH, "a", 0)
    for name in ("a", "b"):
        assert (await store.renew(CALLER, BOTH, name, MINUTE)).outcome is Outcome.NOTHING_DONE


async def test_settling_after_the_expiry_charges_what_was_used_once(store: ReservationStore, clock: Clock) -> None:
    await store.reserve(CALLER, TOKENS, wish("a", 500))
    clock.now += MINUTE
    late = await store.settle(CALLER, TOKENS, "a", 300)
    assert (late.outcome, tokens_left(late)) == (Outcome.DONE, 700)
    again = await store.settle(CALLER, TOKENS, "a", 300)
    assert (again.outcome, tokens_left(again)) == (Outcome.NOTHING_DONE, 700)


async def test_a_name_that_was_never_reserved_is_charged_like_one_that_expired(store: ReservationStore) -> None:
    assert tokens_left(await store.settle(CALLER, TOKENS, "never", 300)) == 700
    assert (await store.reserve(CALLER, TOKENS, wish("never", 1))).outcome is Outcome.NAME_SPENT


async def test_giving_back_never_overfills(store: ReservationStore, clock: Clock) -> None:
    await store.reserve(CALLER, TOKENS, wish("a", 900, ttl_micros=LONGEST_TTL_MICROS))
    clock.now += 50 * MINUTE
    settled = await store.settle(CALLER, TOKENS, "a", 0)
    assert settled.model_tokens is not None
    assert (settled.model_tokens.remaining, settled.model_tokens.full_in_micros) == (1000, 0)


async def test_more_used_than_reserved_makes_a_debt_that_is_paid_back_first(
    store: ReservationStore, clock: Clock
) -> None:
    await store.reserve(CALLER, TOKENS, wish("a", 1000))
    in_debt = await store.settle(CALLER, TOKENS, "a", 1200)
    assert in_debt.model_tokens is not None
    assert (in_debt.model_tokens.remaining, in_debt.model_tokens.full_in_micros) == (0, 12_000 * MICROS_PER_SECOND)
    refused = await store.reserve(CALLER, TOKENS, wish("nothing", 0))
    assert refused.outcome is Outcome.NOTHING_DONE
    assert refused.model_tokens is not None
    assert refused.model_tokens.wait_micros == 2_000 * MICROS_PER_SECOND
    clock.now += 2_000 * MICROS_PER_SECOND
    assert (await store.reserve(CALLER, TOKENS, wish("nothing", 0))).outcome is Outcome.DONE


async def test_a_debt_is_at_most_one_capacity(store: ReservationStore) -> None:
    for name in "abc":
        await store.settle(CALLER, TOKENS, name, 2**32 - 1)
    owing = await store.peek(CALLER, TOKENS)
    assert owing.model_tokens is not None
    assert owing.model_tokens.full_in_micros == 20_000 * MICROS_PER_SECOND


async def test_shadows_refuse_nothing_say_what_they_would_have_refused_and_charge_only_what_they_took(
    store: ReservationStore,
) -> None:
    await store.reserve(CALLER, SHADOWS, wish("a", 900))
    await store.reserve(CALLER, SHADOWS, wish("b", 100))
    over = await store.reserve(CALLER, SHADOWS, wish("c", 5000))
    assert (over.outcome, tokens_left(over), places_taken(over)) == (Outcome.DONE, 0, 3)
    assert over.model_tokens is not None
    assert over.model_tokens.wait_micros == 50_000 * MICROS_PER_SECOND
    assert over.places is not None
    assert over.places.was_full
    assert tokens_left(await store.settle(CALLER, SHADOWS, "c", 5000)) == 0
    assert tokens_left(await store.settle(CALLER, SHADOWS, "a", 200)) == 700


async def test_callers_have_nothing_to_do_with_each_other(store: ReservationStore) -> None:
    await store.reserve(CALLER, BOTH, wish("a", 1000))
    await store.settle(CALLER, BOTH, "a", 1000)
    other = await store.reserve("key_2", BOTH, wish("a", 1000))
    assert (other.outcome, places_taken(other)) == (Outcome.DONE, 1)


async def test_a_clock_that_steps_back_freezes_nobody(store: ReservationStore, clock: Clock) -> None:
    await store.reserve(CALLER, BOTH, wish("a", 1000))
    clock.now -= 24 * LONGEST_TTL_MICROS
    stepped = await store.peek(CALLER, BOTH)
    assert (tokens_left(stepped), places_taken(stepped)) == (0, 1)
    clock.now += 10 * MICROS_PER_SECOND
    assert tokens_left(await store.peek(CALLER, BOTH)) == 1
    clock.now += LONGEST_TTL_MICROS - 10 * MICROS_PER_SECOND
    assert places_taken(await store.peek(CALLER, BOTH)) == 0


async def test_limits_that_change_keep_their_books(store: ReservationStore) -> None:
    await store.reserve(CALLER, PLACES, wish("before"))
    assert tokens_left(await store.settle(CALLER, BOTH, "before", 400)) == 1000
    await store.reserve(CALLER, BOTH, wish("a", 400))
    smaller = CallerLimits(REQUESTS, RateLimit("free", Limit(0.1, 100)), ConcurrencyLimit("free", 1))
    assert tokens_left(await store.settle(CALLER, smaller, "a", 50)) == 100


async def test_at_the_edge_of_the_limit_no_more_is_granted_than_there_is(store: ReservationStore) -> None:
    many = [wish(f"r-{number}", 90) for number in range(40)]
    answers = await asyncio.gather(*(store.reserve(CALLER, TOKENS, each) for each in many))
    assert sum(answer.outcome is Outcome.DONE for answer in answers) == 11
    assert tokens_left(await store.peek(CALLER, TOKENS)) == 10
    answers = await asyncio.gather(*(store.reserve("key_2", BOTH, each) for each in many))
    assert sum(answer.outcome is Outcome.DONE for answer in answers) == 2


async def test_no_more_is_ever_reserved_than_there_is_and_in_the_end_what_was_used_is_gone(redis: Redis) -> None:
    chance = random.Random(7)  # noqa: S311 - a repeatable choice is wanted, not a secret
    limits = CallerLimits(REQUESTS, RateLimit("free", Limit(0.001, 1000)), ConcurrencyLimit("free", 5))
    held: dict[str, int] = {}
    used = most_places = most_tokens = 0

    async def caller(number: int) -> None:
        nonlocal used, most_places, most_tokens
        store = RedisReservationStore(redis, timeout_seconds=5)
        for turn in range(20):
            name, tokens = f"r-{number}-{turn}", chance.randint(50, 400)
            if (await store.reserve(CALLER, limits, wish(name, tokens))).outcome is not Outcome.DONE:
                continue
            held[name] = tokens
            most_places, most_tokens = max(most_places, len(held)), max(most_tokens, used + sum(held.values()))
            spent = chance.randint(0, tokens // 10)
            for _ in range(chance.randint(0, 20)):
                await asyncio.sleep(0)
            used += spent
            del held[name]
            await store.settle(CALLER, limits, name, spent)

    await asyncio.gather(*(caller(number) for number in range(16)))
    left = await RedisReservationStore(redis, timeout_seconds=5).peek(CALLER, limits)
    assert 1 < most_places <= 5
    assert most_tokens <= 1000
    assert (tokens_left(left), places_taken(left)) == (1000 - used, 0)


@pytest.mark.parametrize("seed", range(12))
async def test_the_same_history_gives_the_same_answers_in_memory_and_in_redis(redis: Redis, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a repeatable history is wanted, not a secret
    clock = Clock()
    in_memory = InMemoryReservationStore(clock)
    in_redis = RedisReservationStore(redis, timeout_seconds=5, clock=clock)
    per_hour = CallerLimits(
        REQUESTS, RateLimit("free", Limit.per(70_000, 3600, capacity=1500)), ConcurrencyLimit("free", 3)
    )
    kinds = (TOKENS, PLACES, BOTH, SHADOWS, per_hour)
    for step in range(120):
        # Less than an hour in all: the marks of settled names expire by the server's clock.
        clock.now += int(chance.choice([-1, 1, 1, 1]) * 10 ** chance.uniform(0, 7.5))
        limits = chance.choice(kinds) if seed % 2 else kinds[seed // 2 % len(kinds)]
        operation = chance.randrange(4)
        name = f"r-{chance.randrange(4)}-{step // 15}"
        tokens, ttl = chance.choice([0, 1, 300, chance.randint(0, 2500)]), chance.randint(1, 60) * MICROS_PER_SECOND
        answers = [
            await _carried_out(store, limits, operation, Request(name, tokens, ttl)) for store in (in_memory, in_redis)
        ]
        assert answers[0] == answers[1]


async def _carried_out(store: ReservationStore, limits: CallerLimits, operation: int, about: Request) -> Answer:
    match operation:
        case 0 | 1:
            return await store.reserve(CALLER, limits, about)
        case 2:
            return await store.settle(CALLER, limits, about.name, about.tokens)
        case _:
            return await store.renew(CALLER, limits, about.name, about.ttl_micros)


async def test_a_refusal_and_a_look_write_nothing(redis: Redis) -> None:
    store = RedisReservationStore(redis, timeout_seconds=5)
    await store.peek(CALLER, BOTH)
    assert await redis.keys() == []
    await store.reserve(CALLER, BOTH, wish("a", 900))
    before = await writes(redis)
    assert (await store.reserve(CALLER, BOTH, wish("b", 500))).outcome is Outcome.NOTHING_DONE
    await store.renew(CALLER, BOTH, "b", MINUTE)
    await store.peek(CALLER, BOTH)
    assert await writes(redis) == before


async def test_what_is_kept_expires_when_it_no_longer_matters(redis: Redis) -> None:
    store = RedisReservationStore(redis, timeout_seconds=5)
    await store.reserve(CALLER, BOTH, wish("a", ttl_micros=MINUTE))
    assert 60_000 < await redis.pttl(f"running:{CALLER}") <= 61_000
    await store.renew(CALLER, BOTH, "a", 2 * MINUTE)
    assert 120_000 < await redis.pttl(f"running:{CALLER}") <= 121_000
    assert 120_000 < await redis.pttl(f"reserved:{CALLER}") <= 121_000
    await store.settle(CALLER, BOTH, "a", 0)
    assert await redis.keys() == [f"settled:{CALLER}:a".encode()]
    assert 3_590_000 < await redis.pttl(f"settled:{CALLER}:a") <= 3_600_000


async def test_of_callers_who_were_killed_nothing_is_kept_in_the_end(redis: Redis) -> None:
    store = RedisReservationStore(redis, timeout_seconds=5)
    fast = CallerLimits(REQUESTS, RateLimit("free", Limit(1000, 1000)), ConcurrencyLimit("free", 2))
    brief = wish("a", 500, ttl_micros=MICROS_PER_SECOND)
    await asyncio.gather(*(store.reserve(f"killed-{number}", fast, brief) for number in range(50)))
    assert await redis.dbsize() == 150
    async with asyncio.timeout(20):
        while await redis.dbsize():  # noqa: ASYNC110 - nobody tells when the server forgets
            await asyncio.sleep(0.05)


async def test_tokens_come_back_also_when_nobody_looks_until_long_after_the_expiry(redis: Redis) -> None:
    store = RedisReservationStore(redis, timeout_seconds=5)
    await store.reserve(CALLER, TOKENS, wish("a", 1000, ttl_micros=MICROS_PER_SECOND))
    # The bucket alone needs 10,000 s; until then the reservation is what knows better.
    assert await redis.pttl(f"running:{CALLER}") > 9_990_000
    assert await redis.pttl(f"reserved:{CALLER}") > 9_990_000


async def test_what_is_not_counted_is_kept_only_for_its_expiry(redis: Redis, clock: Clock) -> None:
    store = RedisReservationStore(redis, timeout_seconds=5, clock=clock)
    await store.reserve(CALLER, NO_LIMITS_NOW, wish("a", 1000))
    assert await redis.keys() == [f"running:{CALLER}".encode()]


async def test_without_a_clock_the_time_of_the_server_counts(redis: Redis) -> None:
    seconds, micros = await redis.time()
    await RedisReservationStore(redis, timeout_seconds=5).reserve(CALLER, PLACES, wish("a", ttl_micros=MINUTE))
    after_seconds, after_micros = await redis.time()
    expires = await redis.zscore(f"running:{CALLER}", "a")
    assert expires is not None
    assert seconds * MICROS_PER_SECOND + micros <= expires - MINUTE <= after_seconds * MICROS_PER_SECOND + after_micros


async def test_a_server_that_lost_the_script_is_given_it_again(redis: Redis) -> None:
    store = RedisReservationStore(redis, timeout_seconds=5)
    await store.reserve(CALLER, TOKENS, wish("a", 100))
    await redis.script_flush()
    assert tokens_left(await store.reserve(CALLER, TOKENS, wish("b", 100))) == 800


async def test_a_server_without_memory_loses_nothing_half_way(redis: Redis) -> None:
    store = RedisReservationStore(redis, timeout_seconds=5)
    await store.reserve(CALLER, BOTH, wish("a", 500))
    before = await snapshot(redis)
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(BucketsUnreachableError):
            await store.reserve(CALLER, BOTH, wish("b", 100))
        with pytest.raises(BucketsUnreachableError):
            await store.settle(CALLER, BOTH, "a", 100)
        assert await snapshot(redis) == before
    finally:
        await redis.config_set("maxmemory", 0)
    assert (await store.settle(CALLER, BOTH, "a", 100)).outcome is Outcome.DONE


async def test_a_server_that_is_not_there_is_an_error_that_says_so() -> None:
    async with open_redis(f"redis://127.0.0.1:{free_port()}/0", timeout_seconds=1) as absent:
        store = RedisReservationStore(absent, timeout_seconds=1)
        with pytest.raises(BucketsUnreachableError):
            await store.peek(CALLER, BOTH)


async def test_a_server_that_does_not_answer_is_an_error_in_time(redis: Redis, redis_url: str) -> None:
    async with open_redis(redis_url, timeout_seconds=30) as client:
        store = RedisReservationStore(client, timeout_seconds=0.05)
        await store.peek(CALLER, BOTH)
        await redis.client_pause(2_000)
        with pytest.raises(BucketsUnreachableError):
            await store.peek(CALLER, BOTH)
        await redis.client_unpause()
    assert tokens_left(await RedisReservationStore(redis, timeout_seconds=5).peek(CALLER, BOTH)) == 1000


async def test_a_call_that_was_cancelled_leaves_no_answer_for_the_next(redis: Redis, redis_url: str) -> None:
    async with open_redis(redis_url, timeout_seconds=5, connections=2) as client:
        store = RedisReservationStore(client, timeout_seconds=5)
        for turn in range(50):
            cut_off = asyncio.create_task(store.reserve("mine", TOKENS, wish(f"r-{turn}", 1)))
            for _ in range(turn % 12):
                await asyncio.sleep(0)
            cut_off.cancel()
            await asyncio.gather(cut_off, return_exceptions=True)
            assert tokens_left(await store.reserve(f"other-{turn}", TOKENS, wish("a", 300))) == 700

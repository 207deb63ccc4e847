"""What only the log of invalidations in Redis can get wrong: pages, loss, scripts, foreign data, cancelled calls."""

import asyncio
from collections.abc import Iterator, Mapping
from itertools import islice

import pytest
from redis.asyncio import Redis

from services.cache.generations.generation_log import GenerationsUnavailableError
from services.cache.generations.generations import Generations
from services.cache.generations.redis_generation_log import LOG_KEY, PAGE_SCOPES, SCOPES_KEY, RedisGenerationLog
from tests.contract.cache.conftest import PATIENCE_SECONDS
from tests.contract.cache.logs_at_hand import A, B, everything, known, log_in


async def test_the_generation_is_the_time_of_the_server_in_microseconds(state_redis: Redis) -> None:
    log = log_in(state_redis)
    await everything(log)
    before = await state_redis.time()
    generation = await log.invalidate(A)
    after = await state_redis.time()
    assert before[0] * 10**6 + before[1] <= generation <= after[0] * 10**6 + after[1]


async def test_more_scopes_than_a_page_are_told_and_given_back_in_one(state_redis: Redis) -> None:
    count = 2 * PAGE_SCOPES + 5
    log = log_in(state_redis, most_scopes=3 * PAGE_SCOPES)
    epoch = (await everything(log)).epoch
    for size in (count, 2 * PAGE_SCOPES):
        scopes = {f"acme/key/{number}": number for number in range(2, size + 2)}
        await state_redis.flushdb()
        epoch = (await everything(log)).epoch
        await log.restore(epoch, known(latest=size + 1, scopes=scopes))
        news = await everything(log)
        assert (news.scopes, news.beginning) == (scopes, 1)
        assert len((await log.since(PAGE_SCOPES, epoch=news.epoch)).scopes) == size + 1 - PAGE_SCOPES


@pytest.mark.parametrize("loses", [False, True])
async def test_what_changes_between_two_pages_is_read_or_shows_in_the_epoch(state_redis: Redis, loses: bool) -> None:
    log = log_in(state_redis, most_scopes=10 * PAGE_SCOPES)
    scopes = {f"acme/key/{number}": number for number in range(11, 3 * PAGE_SCOPES)}
    for turn in range(40):
        await state_redis.flushdb()
        await log.restore((await everything(log)).epoch, known(latest=3 * PAGE_SCOPES, beginning=10, scopes=scopes))
        reading = asyncio.create_task(everything(log))
        for _ in range(turn):
            await asyncio.sleep(0.0001)
        if loses:
            await state_redis.flushdb()
        # An early one, which a reader that has gone on to the next page would not see.
        await log.restore((await everything(log)).epoch, known(beginning=2, scopes={A: 3}))
        told, news = await everything(log), await reading
        if news.epoch == told.epoch:
            assert news == told
        else:
            assert (news.beginning, news.scopes) in [(10, scopes), (news.latest, {})], "as it was before"


class Interrupted(Mapping[str, int]):
    """Scopes of a process that ends when it has given back the first page of them."""

    def __init__(self, scopes: dict[str, int]) -> None:
        self._scopes = scopes

    def __iter__(self) -> Iterator[str]:
        yield from islice(self._scopes, PAGE_SCOPES)
        raise InterruptedError

    def __getitem__(self, scope: str) -> int:
        return self._scopes[scope]

    def __len__(self) -> int:
        return len(self._scopes)


async def test_of_what_is_given_back_only_in_part_nothing_is_trusted_until_the_rest_comes(state_redis: Redis) -> None:
    log = log_in(state_redis, most_scopes=10 * PAGE_SCOPES)
    before = await everything(log)
    scopes = {f"acme/key/{number}": number for number in range(11, 11 + PAGE_SCOPES)}
    with pytest.raises(InterruptedError):
        await log.restore(before.epoch, known(scopes=Interrupted(scopes)))
    half_way = await everything(log)
    assert (half_way.epoch, half_way.beginning, half_way.scopes) == (before.epoch, before.beginning, scopes)
    await log.restore(before.epoch, known(beginning=1, scopes=scopes))
    after = await log.since(before.latest, epoch=before.epoch)
    assert after.epoch != before.epoch
    assert (after.beginning, after.scopes) == (1, scopes)


async def test_a_hundred_thousand_scopes_and_more_stay_bounded_and_are_heard(state_redis: Redis) -> None:
    log = RedisGenerationLog(state_redis, timeout_seconds=PATIENCE_SECONDS)
    epoch = (await everything(log)).epoch
    scopes = {f"acme/key/{number:064}": number for number in range(1, 100_011)}
    await log.restore(epoch, known(latest=100_010, scopes=scopes))
    assert await state_redis.zcard(SCOPES_KEY) == 100_000
    view = Generations()
    view.learn(await everything(log))
    assert not view.is_valid(9, ("acme/key/other",))
    assert view.is_valid(10, ("acme/key/other",))
    assert not view.is_valid(99_999, (f"acme/key/{100_000:064}",))
    assert view.is_valid(100_000, (f"acme/key/{100_000:064}",))
    await log.invalidate(A)
    assert await state_redis.zcard(SCOPES_KEY) == 100_000
    assert (await log.since(100_011, epoch=(await everything(log)).epoch)).floor == 11


@pytest.mark.parametrize("lost", [SCOPES_KEY, LOG_KEY])
async def test_a_log_of_which_a_part_was_lost_begins_anew(state_redis: Redis, lost: str) -> None:
    log = log_in(state_redis)
    generation = await log.invalidate(A)
    before = await everything(log)
    await state_redis.delete(lost)
    after = await log.since(generation, epoch=before.epoch)
    assert after.epoch != before.epoch
    assert after.scopes == {}
    assert after.beginning > generation


async def test_an_invalidation_right_after_a_loss_is_told(state_redis: Redis) -> None:
    log = log_in(state_redis)
    before = await log.invalidate(A)
    epoch = (await everything(log)).epoch
    await state_redis.flushdb()
    after = await log.invalidate(B)
    news = await log.since(before, epoch=epoch)
    assert news.scopes == {B: after}
    assert before < news.beginning < after


async def test_a_server_that_lost_the_scripts_is_given_them_again(state_redis: Redis) -> None:
    log = log_in(state_redis)
    await everything(log)
    await state_redis.script_flush()
    generation = await log.invalidate(A)
    await state_redis.script_flush()
    news = await everything(log)
    assert news.scopes == {A: generation}
    await state_redis.script_flush()
    await log.restore(news.epoch, known(scopes={B: 5}))
    assert (await everything(log)).scopes == {A: generation, B: 5}


async def test_a_question_changes_nothing_and_sends_little(state_redis: Redis) -> None:
    log = log_in(state_redis)
    news = await everything(log)
    before = await state_redis.hgetall(LOG_KEY)
    await state_redis.config_resetstat()
    assert await log.since(news.latest, epoch=news.epoch) == news
    assert "cmdstat_hset" not in await state_redis.info("commandstats")
    assert await state_redis.hgetall(LOG_KEY) == before


async def test_other_data_under_its_keys_make_the_log_unavailable_and_stay(state_redis: Redis) -> None:
    log = log_in(state_redis)
    for key in (SCOPES_KEY, LOG_KEY):
        await state_redis.flushdb()
        await everything(log)
        await state_redis.set(key, "something else")
        for call in (everything(log), log.invalidate(A)):
            with pytest.raises(GenerationsUnavailableError):
                await call
        assert await state_redis.get(key) == b"something else"


async def test_numbers_that_are_none_make_the_log_unavailable(state_redis: Redis) -> None:
    log = log_in(state_redis)
    await log.invalidate(A)
    await state_redis.zadd(SCOPES_KEY, {A: float("inf")})
    with pytest.raises(GenerationsUnavailableError):
        await everything(log)
    await state_redis.hset(LOG_KEY, "latest", "late")
    with pytest.raises(GenerationsUnavailableError):
        await log.invalidate(B)


async def test_a_server_without_memory_takes_no_invalidation_and_tells_what_it_knows(state_redis: Redis) -> None:
    log = log_in(state_redis)
    generation = await log.invalidate(A)
    await state_redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(GenerationsUnavailableError):
            await log.invalidate(B)
        assert (await everything(log)).scopes == {A: generation}
    finally:
        await state_redis.config_set("maxmemory", 0)
    assert await log.invalidate(B) > generation


async def test_a_call_that_was_cancelled_leaves_no_answer_for_the_next(state_redis: Redis) -> None:
    log = log_in(state_redis)
    latest = (await everything(log)).latest
    for turn in range(50):
        cut_off = asyncio.create_task(log.invalidate(A))
        for _ in range(turn % 12):
            await asyncio.sleep(0)
        cut_off.cancel()
        await asyncio.gather(cut_off, return_exceptions=True)
        news = await everything(log)
        assert news.latest >= latest
        latest = await log.invalidate(B)
        assert latest > news.latest

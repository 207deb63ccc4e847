"""What every log of invalidations does, in memory and in Valkey."""

import asyncio
import time

import pytest

from services.cache.generations.generation_log import GenerationLog
from services.cache.generations.generations import Generations
from tests.contract.cache.logs_at_hand import MOST, A, B, everything, known, log_in
from tests.memory_generation_log import MemoryGenerationLog


@pytest.fixture(params=["memory", "redis"])
def log(request: pytest.FixtureRequest) -> GenerationLog:
    if request.param == "memory":
        return MemoryGenerationLog(micros=time.time_ns, most_scopes=MOST)
    return log_in(request.getfixturevalue("state_redis"))


async def filled(log: GenerationLog, count: int) -> list[int]:
    return [await log.invalidate(f"acme/key/{number}") for number in range(count)]


async def test_a_log_that_was_never_used_trusts_nothing_from_before(log: GenerationLog) -> None:
    news = await everything(log)
    assert news.scopes == {}
    assert news.beginning == news.latest > 0
    assert news.floor < news.beginning
    assert await log.since(news.latest, epoch=news.epoch) == news, "it begins once"


async def test_each_invalidation_begins_a_later_generation(log: GenerationLog) -> None:
    start = (await everything(log)).latest
    begun = [start, *[await log.invalidate(scope) for scope in (A, B, A, A)]]
    assert begun == sorted(set(begun))
    news = await everything(log)
    assert news.latest == begun[-1]
    assert news.scopes == {A: begun[4], B: begun[2]}
    assert news.beginning == start


async def test_many_invalidations_at_once_have_a_generation_each(log: GenerationLog) -> None:
    begun = await asyncio.gather(*(log.invalidate(f"acme/key/{number % 10}") for number in range(40)))
    assert len(set(begun)) == 40
    assert (await everything(log)).latest == max(begun)


async def test_only_what_came_since_is_told(log: GenerationLog) -> None:
    first = await log.invalidate(A)
    epoch = (await everything(log)).epoch
    assert (await log.since(first, epoch=epoch)).scopes == {}
    second = await log.invalidate(B)
    assert (await log.since(first, epoch=epoch)).scopes == {B: second}
    assert (await log.since(first, epoch="another")).scopes == {A: first, B: second}


async def test_the_oldest_scopes_are_dropped_and_the_floor_is_raised_to_the_newest_of_them(log: GenerationLog) -> None:
    begun = await filled(log, MOST + 7)
    news = await everything(log)
    assert list(news.scopes.values()) == begun[7:]
    assert news.floor == begun[6]
    view = Generations()
    view.learn(news)
    assert not view.is_valid(begun[6] - 1, ("acme/key/6",))
    assert view.is_valid(begun[6], ("acme/key/6",))


async def test_what_a_process_knows_is_added_and_everybody_reads_anew(log: GenerationLog) -> None:
    own = await log.invalidate(A)
    before = await everything(log)
    await log.restore(before.epoch, known(latest=20, beginning=5, floor=4, scopes={A: 10, B: 20, "acme/tag/old": 3}))
    after = await log.since(before.latest, epoch=before.epoch)
    assert after.epoch != before.epoch
    assert after.scopes == {A: own, B: 20}
    assert (after.latest, after.beginning, after.floor) == (own, 5, 4)


async def test_what_the_log_ought_to_have_known_is_invalidated_anew(log: GenerationLog) -> None:
    generation = await log.invalidate(A)
    before = await everything(log)
    later = generation + 10**15
    assert await log.restore(before.epoch, known(latest=later + 1, scopes={A: later, B: later + 1})) != before.epoch
    told = await everything(log)
    assert later + 1 < told.scopes[A] < told.scopes[B] == told.latest
    assert await log.restore(told.epoch, known(latest=later + 1, scopes={A: later, B: later + 1})) == told.epoch
    assert await everything(log) == told, "once is enough"


async def test_what_another_had_dropped_that_the_log_ought_to_have_known_takes_all_with_it(log: GenerationLog) -> None:
    generation = await log.invalidate(A)
    before = await everything(log)
    await log.restore(before.epoch, known(floor=generation, beginning=before.beginning))
    news = await everything(log)
    assert news.scopes == {}
    assert news.floor == news.latest > generation


async def test_what_the_log_knew_already_changes_nothing(log: GenerationLog) -> None:
    await filled(log, MOST + 5)
    news = await everything(log)
    await log.restore(news.epoch, news)
    assert await everything(log) == news
    await log.restore(news.epoch, known(beginning=news.beginning, floor=news.floor - 1, scopes={A: news.floor}))
    assert await everything(log) == news, "what lies below the floor is known"


async def test_several_give_back_what_they_know_one_after_the_other(log: GenerationLog) -> None:
    start = await everything(log)
    first = await log.restore(start.epoch, known(beginning=5, floor=1, scopes={A: 10}))
    second = await log.restore(start.epoch, known(beginning=2, floor=3, scopes={A: 4, B: 20}))
    news = await everything(log)
    assert len({start.epoch, first, second}) == 3
    assert (news.epoch, news.beginning, news.floor) == (second, 2, 3)
    assert news.scopes == {A: 10, B: news.latest}, "since the first of them older answers may have been built upon"
    assert news.latest > start.latest


async def test_a_log_that_was_lost_again_takes_nothing(log: GenerationLog) -> None:
    news = await everything(log)
    assert await log.restore(f"1{news.epoch}", known(beginning=5, scopes={A: 10})) == ""
    assert await everything(log) == news


async def test_of_more_than_it_keeps_the_newest_are_given_back(log: GenerationLog) -> None:
    epoch = (await everything(log)).epoch
    scopes = {f"acme/key/{number}": number for number in range(1, MOST + 11)}
    await log.restore(epoch, known(scopes=scopes))
    news = await everything(log)
    assert (len(news.scopes), news.floor) == (MOST, 10)
    assert min(news.scopes.values()) == 11

"""Look-ups that have to hear more first: one question for all of them, none to a log that is gone, and no long wait."""

import asyncio

import pytest

from services.cache.generations.generation_log import GenerationsUnavailableError
from services.cache.generations.generation_watcher import POLL_SECONDS, GenerationWatcher
from services.cache.generations.generations import Generations, News
from services.cache.main import LOG_TIMEOUT_SECONDS
from tests.memory_generation_log import MemoryGenerationLog

A = "acme/tag/a"


class SlowLog:
    """Answers each question as of the time when it is asked, but only when it is told to."""

    def __init__(self) -> None:
        self.is_gone = False
        self.questions = 0
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._log = MemoryGenerationLog()

    async def since(self, generation: int, *, epoch: str) -> News:
        self.questions += 1
        self.asked.set()
        news = await self._log.since(generation, epoch=epoch)
        await self.may_answer.wait()
        if self.is_gone:
            raise GenerationsUnavailableError from ConnectionError("refused")
        return news

    async def invalidate(self, scope: str) -> int:
        return await self._log.invalidate(scope)

    async def restore(self, epoch: str, known: News) -> str:
        return await self._log.restore(epoch, known)


class Process:
    """A view that has heard, and its watcher."""

    def __init__(self, log: SlowLog, *, wait_seconds: float) -> None:
        self.view = Generations()
        self.watcher = GenerationWatcher(log, self.view, clock=lambda: 0.0, wait_seconds=wait_seconds)


async def heard(log: SlowLog, *, wait_seconds: float = 60) -> Process:
    process = Process(log, wait_seconds=wait_seconds)
    await process.watcher.hear()
    log.questions = 0
    log.asked.clear()
    return process


def test_an_invalidation_holds_everywhere_within_a_second() -> None:
    assert POLL_SECONDS + LOG_TIMEOUT_SECONDS < 1


async def test_who_has_heard_enough_asks_nothing() -> None:
    log = SlowLog()
    process = await heard(log)
    assert await process.watcher.hear_up_to(process.view.latest)
    assert log.questions == 0


async def test_many_who_have_to_hear_more_share_one_question() -> None:
    log = SlowLog()
    process = await heard(log)
    generation = await log.invalidate(A)
    assert all(await asyncio.gather(*(process.watcher.hear_up_to(generation) for _ in range(100))))
    assert log.questions == 1
    assert not process.view.is_valid(generation - 1, (A,))


async def test_what_was_invalidated_after_a_question_that_is_under_way_is_asked_for_once_more() -> None:
    log = SlowLog()
    process = await heard(log)
    log.may_answer.clear()
    early = asyncio.create_task(process.watcher.hear())
    await log.asked.wait()
    generation = await log.invalidate(A)
    late = [asyncio.create_task(process.watcher.hear_up_to(generation)) for _ in range(100)]
    await asyncio.sleep(0)
    log.may_answer.set()
    assert all(await asyncio.gather(*late))
    await early
    assert log.questions == 2


async def test_a_generation_that_there_is_not_costs_two_questions_and_no_more() -> None:
    log = SlowLog()
    process = await heard(log)
    assert not await process.watcher.hear_up_to(2**64 - 1)
    assert log.questions == 2


async def test_while_the_log_is_gone_nobody_asks_but_the_regular_poll() -> None:
    log = SlowLog()
    process = await heard(log)
    generation = await log.invalidate(A)
    log.is_gone = True
    for _ in range(10):
        assert not await process.watcher.hear_up_to(generation)
    assert log.questions == 1
    log.is_gone = False
    await process.watcher.hear()
    assert await process.watcher.hear_up_to(generation)


async def test_before_the_first_news_nobody_asks_but_the_regular_poll() -> None:
    log = SlowLog()
    process = Process(log, wait_seconds=60)
    assert not await process.watcher.hear_up_to(0)
    assert log.questions == 0


async def test_who_waits_too_long_goes_on_without_and_the_news_come_all_the_same() -> None:
    log = SlowLog()
    process = await heard(log, wait_seconds=0.01)
    generation = await log.invalidate(A)
    log.may_answer.clear()
    assert not await process.watcher.hear_up_to(generation)
    log.may_answer.set()
    await process.watcher.hear()
    assert process.view.has_heard_up_to(generation)
    assert log.questions == 1, "the question that was under way was answered"


async def test_no_question_is_left_when_it_is_stopped() -> None:
    log = SlowLog()
    process = await heard(log)
    log.may_answer.clear()

    async def no_pause(_: float) -> None:
        return

    running = asyncio.create_task(process.watcher.run(pause=no_pause))
    await log.asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}

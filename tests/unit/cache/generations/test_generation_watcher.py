"""How a process keeps up with the log: news, outages, and what it gives back to a log that was lost."""

import asyncio
import math
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from meshkit.errors import Reason, ShoalError
from services.cache.generations.generation_log import GenerationsUnavailableError
from services.cache.generations.generation_watcher import POLL_SECONDS, GenerationWatcher
from services.cache.generations.generations import Generations, News
from tests.memory_generation_log import MemoryGenerationLog

A, B = "acme/tag/a", "acme/tag/b"


@dataclass
class SharedLog:
    """A log that can be gone, or lost."""

    is_gone: bool = False
    takes_nothing: bool = False
    """As a server that can only be read."""
    is_lost_again_at: int = 0
    """If not 0, it is lost at that time, right after it was given something back."""
    log: MemoryGenerationLog = field(default_factory=lambda: MemoryGenerationLog(micros=lambda: 100))

    def lose(self, *, now: int) -> None:
        self.log = MemoryGenerationLog(micros=lambda: now)

    async def since(self, generation: int, *, epoch: str) -> News:
        self._fail_if(self.is_gone)
        return await self.log.since(generation, epoch=epoch)

    async def invalidate(self, scope: str) -> int:
        self._fail_if(self.is_gone or self.takes_nothing)
        return await self.log.invalidate(scope)

    async def restore(self, epoch: str, known: News) -> str:
        self._fail_if(self.is_gone or self.takes_nothing)
        afterwards = await self.log.restore(epoch, known)
        if self.is_lost_again_at:
            self.lose(now=self.is_lost_again_at)
            self.is_lost_again_at = 0
        return afterwards

    def _fail_if(self, fails: bool) -> None:
        if fails:
            raise GenerationsUnavailableError from ConnectionError("refused")


class Process:
    """A view, its watcher, and time in the hands of the test."""

    def __init__(self, log: SharedLog) -> None:
        self.seconds = 1000.0
        self.view = Generations()
        self.watcher = GenerationWatcher(log, self.view, clock=lambda: self.seconds)


@pytest.fixture
def log() -> SharedLog:
    return SharedLog()


async def heard(log: SharedLog) -> Process:
    process = Process(log)
    await process.watcher.hear()
    return process


async def test_an_invalidation_holds_at_once_here_and_elsewhere_from_the_next_question_on(log: SharedLog) -> None:
    here, there = await heard(log), await heard(log)
    before = here.view.latest
    assert await here.watcher.invalidate(A) == 101
    assert not here.view.is_valid(before, (A,))
    assert there.view.is_valid(before, (A,))
    await there.watcher.hear()
    assert not there.view.is_valid(before, (A,))
    assert there.view.is_valid(before, (B,))


async def test_what_is_computed_right_after_an_invalidation_is_valid(log: SharedLog) -> None:
    here, there = await heard(log), await heard(log)
    await there.watcher.invalidate(B)
    await here.watcher.invalidate(A)
    assert here.view.is_valid(here.view.latest, (A, B))
    assert there.view.is_valid(here.view.latest, (A, B))


async def test_an_invalidation_that_is_not_taken_is_an_error_that_says_so(log: SharedLog) -> None:
    process = await heard(log)
    log.is_gone = True
    with pytest.raises(ShoalError) as refused:
        await process.watcher.invalidate(A)
    assert refused.value.reason is Reason.STATE_UNAVAILABLE
    assert refused.value.retryable
    assert "send the same call again" in refused.value.message
    assert process.view.is_valid(100, (A,))


async def test_while_the_log_is_gone_the_view_stays_and_its_age_shows(log: SharedLog) -> None:
    process = await heard(log)
    log.is_gone = True
    process.seconds += 7
    await process.watcher.hear()
    assert process.watcher.heard_seconds_ago(process.seconds) == 7
    assert process.view.is_valid(100, (A,))
    log.is_gone = False
    await process.watcher.hear()
    assert process.watcher.heard_seconds_ago(process.seconds) == 0


async def test_a_process_that_cannot_hear_from_its_start_on_trusts_nothing_until_it_can(log: SharedLog) -> None:
    log.is_gone = True
    process = await heard(log)
    assert process.watcher.heard_seconds_ago(process.seconds) == math.inf
    assert not process.view.is_valid(100, (A,))
    log.is_gone = False
    await process.watcher.hear()
    assert process.view.is_valid(100, (A,))


async def test_the_log_has_one_line_for_each_change(log: SharedLog) -> None:
    with capture_logs() as lines:
        log.is_gone = True
        process = await heard(log)
        await process.watcher.hear()
        log.is_gone = False
        await process.watcher.hear()
        await process.watcher.hear()
        log.is_gone = True
        await process.watcher.hear()
    assert [line["log_level"] for line in lines] == ["warning", "info", "warning"]
    assert lines[0]["meanwhile"].startswith("no answer is found")
    assert lines[2]["meanwhile"].startswith("answers are found as before")
    assert all("ConnectionError" in line["cause"] for line in lines if line["log_level"] == "warning")


async def test_each_who_knew_something_gives_it_back_to_a_log_that_was_lost(log: SharedLog) -> None:
    first, second = await heard(log), await heard(log)
    await first.watcher.invalidate(A)
    await second.watcher.invalidate(B)
    assert not first.view.is_valid(100, (A,))
    log.lose(now=1000)
    await first.watcher.hear()
    await second.watcher.hear()
    await first.watcher.hear()
    newcomer = await heard(log)
    for process in (first, second, newcomer):
        assert not process.view.is_valid(100, (A,))
        assert not process.view.is_valid(100, (B,))
        assert process.view.is_valid(100, ("acme/tag/other",))
        assert not process.view.is_valid(99, ("acme/tag/other",))


async def test_who_has_heard_of_a_lost_log_already_hears_what_is_given_back_later(log: SharedLog) -> None:
    old = await heard(log)
    await old.watcher.invalidate(A)
    log.lose(now=1000)
    newcomer = await heard(log)
    assert not newcomer.view.is_valid(999, (B,))
    await old.watcher.hear()
    await newcomer.watcher.hear()
    assert newcomer.view.is_valid(100, (B,))
    assert not newcomer.view.is_valid(100, (A,))


async def test_what_could_not_be_given_back_is_given_back_as_soon_as_it_can(log: SharedLog) -> None:
    process = await heard(log)
    await process.watcher.invalidate(A)
    log.lose(now=1000)
    log.takes_nothing = True
    await process.watcher.hear()
    log.takes_nothing = False
    await process.watcher.hear()
    newcomer = await heard(log)
    assert newcomer.view.is_valid(100, (B,))
    assert not newcomer.view.is_valid(100, (A,))


async def test_what_was_given_back_to_a_log_that_is_lost_again_is_given_back_once_more(log: SharedLog) -> None:
    process = await heard(log)
    await process.watcher.invalidate(A)
    log.lose(now=1000)
    log.is_lost_again_at = 2000
    await process.watcher.hear()
    newcomer = await heard(log)
    assert newcomer.view.is_valid(100, (B,))
    assert not newcomer.view.is_valid(100, (A,))


async def test_what_was_found_before_another_gave_back_its_invalidation_is_not_built_upon(log: SharedLog) -> None:
    knowing, unknowing = await heard(log), await heard(log)
    await knowing.watcher.invalidate(A)
    log.lose(now=1000)
    await unknowing.watcher.hear()
    built = unknowing.view.latest
    assert unknowing.view.is_valid(100, (A,)), "it cannot know"
    for process in (knowing, unknowing):
        await process.watcher.hear()
        assert not process.view.is_valid(built, (A,))
        assert process.view.is_valid(built, (B,))


async def test_a_process_that_never_heard_gives_back_the_invalidation_that_it_made(log: SharedLog) -> None:
    process = Process(log)
    process.view.invalidated(A, await log.invalidate(A))
    log.lose(now=101)
    await process.watcher.hear()
    assert not (await heard(log)).view.is_valid(100, (A,))
    assert (await log.since(0, epoch="")).scopes == {A: 101}


async def test_it_asks_again_and_again_until_it_is_cancelled(log: SharedLog) -> None:
    process, other = await heard(log), await heard(log)
    pauses: list[float] = []
    heard_twice = asyncio.Event()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            heard_twice.set()
            await asyncio.Event().wait()

    await other.watcher.invalidate(A)
    running = asyncio.create_task(process.watcher.run(pause=pause))
    await heard_twice.wait()
    assert pauses == [POLL_SECONDS] * 3
    assert not process.view.is_valid(100, (A,))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

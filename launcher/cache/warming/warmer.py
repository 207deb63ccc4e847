"""The run itself: sends the tasks, so many at once, until all are finished or it is told to stop."""

import asyncio
import itertools
from collections.abc import Iterator

from launcher.cache.warming.answers import KeyRefused, NotNow, Outcome, Result, TooOld, Verdict, judge
from launcher.cache.warming.front_door import FrontDoor, NoAnswerError
from launcher.cache.warming.journal import Journal, JournalError
from launcher.cache.warming.report import Report
from launcher.cache.warming.tasks import BadLine, Task

PATIENCE_SECONDS = 120.0
"""So long in all a task waits for a front door that says "not now"."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 8.0
"""Between tries, where the front door does not say when; each pause is twice the one before."""
MOST_GIVEN_UP = 3
"""After so many tasks in a row that ran out of patience, the rest is left for another run."""


class StoppedError(Exception):
    """The run ends before the task is done: it is left for another one."""


class Warmer:
    """One run. Its methods belong to one event loop."""

    def __init__(
        self,
        door: FrontDoor,
        *,
        destination: str,
        journal: Journal,
        report: Report,
        stop: asyncio.Event,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """`destination` tells this front door and this tenant from others; setting `stop` ends the run in order."""
        self._door = door
        self._destination = destination
        self._journal = journal
        self._report = report
        self._stop = stop
        self._patience_seconds = patience_seconds
        self._sent: set[str] = set()
        self._given_up_in_a_row = 0

    async def run(self, tasks: Iterator[Task | BadLine], *, at_once: int) -> None:
        """Takes as many tasks as it may before it is stopped. What is in flight then is seen to its end.

        It stops by itself, with a sentence in the report, where going on is of no use: if the tasks cannot be read, for
        example, or the journal not be written.
        """
        async with asyncio.TaskGroup() as workers:
            for _ in range(at_once):
                workers.create_task(self._work(tasks))

    async def _work(self, tasks: Iterator[Task | BadLine]) -> None:
        while (task := self._next(tasks)) is not None:
            # Thousands that need not be sent must not keep a signal waiting.
            await asyncio.sleep(0)
            try:
                self._report.add(task.line, await self._result(task))
            except StoppedError:
                return

    def _next(self, tasks: Iterator[Task | BadLine]) -> Task | BadLine | None:
        """None if there is no more to do."""
        if self._stop.is_set():
            return None
        try:
            return next(tasks, None)
        except OSError as error:
            self._end(f"The tasks cannot be read any further ({error.strerror}).")
            return None

    async def _result(self, task: Task | BadLine) -> Result:
        if isinstance(task, BadLine):
            return Result(Outcome.FAILED, task.reason)
        digest = task.digest(self._destination)
        if digest in self._sent:
            return Result(Outcome.DUPLICATE)
        self._sent.add(digest)
        if self._journal.holds(digest):
            return Result(Outcome.FINISHED_BEFORE)
        result = await self._ask(task)
        if result.outcome is not Outcome.FAILED:
            # From half of its life on it would be computed anew.
            self._note(digest, for_seconds=task.ttl_seconds / 2)
        return result

    def _note(self, digest: str, *, for_seconds: float) -> None:
        try:
            self._journal.add(digest, for_seconds=for_seconds)
        except JournalError as error:
            self._end(str(error))

    async def _ask(self, task: Task) -> Result:
        """Raises StoppedError."""
        verdict = await self._patiently(task)
        if isinstance(verdict, TooOld):
            verdict = await self._patiently(task.refreshing())
        match verdict:
            case Result():
                self._given_up_in_a_row = 0
                return verdict
            case NotNow(reason):
                return self._given_up(reason)
            case KeyRefused(reason):
                self._end(f"The API key was refused: {reason}")
                raise StoppedError
            case TooOld():
                return Result(Outcome.FAILED, "was not computed anew, though that was asked for")

    async def _patiently(self, task: Task) -> Verdict:
        """Asks until there is an answer or patience is at its end; that comes to NotNow."""
        waited = 0.0
        for attempt in itertools.count():
            verdict = await self._once(task)
            if not isinstance(verdict, NotNow):
                break
            usual = min(FIRST_PAUSE_SECONDS * 2**attempt, LONGEST_PAUSE_SECONDS)
            pause = usual if verdict.after_seconds is None else verdict.after_seconds
            if waited + pause > self._patience_seconds:
                break
            await self._pause(pause)
            waited += pause
        return verdict

    async def _once(self, task: Task) -> Verdict:
        try:
            return judge(await self._door.post(task.body), task)
        except NoAnswerError as error:
            return NotNow(str(error))

    async def _pause(self, seconds: float) -> None:
        """Raises StoppedError if the run is stopped meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
        raise StoppedError

    def _given_up(self, reason: str) -> Result:
        self._given_up_in_a_row += 1
        if self._given_up_in_a_row >= MOST_GIVEN_UP:
            self._end(f"{MOST_GIVEN_UP} tasks in a row were put off for too long; the last one: {reason}")
        return Result(Outcome.FAILED, f"was put off for too long: {reason}")

    def _end(self, why: str) -> None:
        self._report.ended_early(why)
        self._stop.set()

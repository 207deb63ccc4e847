"""Keeps a process's view of invalidations near the log that all processes share."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn

from meshkit.errors import Reason, ShoalError
from services.cache.generations.generation_log import GenerationLog, GenerationsUnavailableError
from services.cache.generations.generations import Generations
from services.cache.outages.outage import Outage

POLL_SECONDS = 0.25
"""How often the log is asked: the promise is that an invalidation holds in all processes within 1 s."""
WAIT_SECONDS = 0.25
"""At most so long a look-up waits for news."""


class GenerationWatcher:
    """Asks the log for news, and gives it back what it has lost. `clock` is a steady clock in seconds; a look-up waits
    for news for at most `wait_seconds`.

    While the log cannot be used the view stays as it is: what was found valid is found on, and nothing can be
    invalidated. A process that has not heard of the log since its start finds nothing and keeps nothing until it has:
    it cannot know what of the shared levels was invalidated.
    """

    def __init__(
        self,
        log: GenerationLog,
        generations: Generations,
        *,
        clock: Callable[[], float],
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._log = log
        self._generations = generations
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._heard_at = -math.inf
        self._outage = Outage("the state Redis, for the log of invalidations", setting="SHOAL_STATE_REDIS_URL")
        self._question: asyncio.Task[None] | None = None

    async def hear(self) -> None:
        """Asks once, or waits for the question that is under way. To be awaited before the first look-up, and then left
        to `run`. It never fails."""
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(self._hear())
        # Nobody who leaves takes it from the others.
        await asyncio.shield(self._question)

    async def hear_up_to(self, generation: int) -> bool:
        """Whether everything is known here that was invalidated until then; if not, the log is asked first.

        It takes at most `wait_seconds`. Before the first news, and while the log cannot be used, it is left to `run` to
        ask, and the answer is no at once.
        """
        view = self._generations
        if not view.has_heard_up_to(generation) and view.epoch and not self._outage.is_on:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait_seconds):
                    await self._hear_of(generation)
        return view.has_heard_up_to(generation)

    async def run(self, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> NoReturn:
        """Goes on until it is cancelled."""
        try:
            while True:
                await pause(POLL_SECONDS)
                await self.hear()
        finally:
            if self._question:
                self._question.cancel()

    async def invalidate(self, scope: str) -> int:
        """Makes everything of the scope invalid that was computed, or began to be, before now, in this process at once;
        the others hear of it within POLL_SECONDS. Returns the new generation.

        Raises ShoalError STATE_UNAVAILABLE if the log cannot be used; the others may hear of it nevertheless.
        """
        try:
            generation = await self._log.invalidate(scope)
        except GenerationsUnavailableError as error:
            message = "The cache processes cannot be told now what shall be invalid; send the same call again."
            raise ShoalError(Reason.STATE_UNAVAILABLE, message) from error
        self._generations.invalidated(scope, generation)
        # So that what is computed from now on is valid.
        await self._hear_of(generation)
        return generation

    def heard_seconds_ago(self, now: float) -> float:
        """How old the view is by the same clock; infinite if nothing was ever heard."""
        return now - self._heard_at

    async def _hear_of(self, generation: int) -> None:
        """Asks again if what was under way had been asked too early."""
        await self.hear()
        if not self._generations.has_heard_up_to(generation) and not self._outage.is_on:
            await self.hear()

    async def _hear(self) -> None:
        try:
            await self._ask()
        except GenerationsUnavailableError as error:
            self._outage.begin(error.__cause__, meanwhile=self._meanwhile())
        else:
            self._heard_at = self._clock()
            self._outage.end()

    async def _ask(self) -> None:
        view = self._generations
        news = await self._log.since(view.latest, epoch=view.epoch)
        told = view.epoch
        # Who has found answers of an earlier epoch moves on only when the log knows what it knows, and then with all
        # that the others have told the log until then.
        while news.epoch != told:
            told = await self._log.restore(news.epoch, view.known())
            news = await self._log.since(0, epoch="")
        view.learn(news)

    def _meanwhile(self) -> str:
        if self._generations.epoch:
            return "answers are found as before, and none can be invalidated"
        return "no answer is found or kept, since any may have been invalidated"

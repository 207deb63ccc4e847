"""Keeps a process's view of invalidations near the log that all processes share."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog

from meshkit.errors import Reason, ShoalError
from services.cache.generations.generation_log import GenerationLog, GenerationsUnavailableError
from services.cache.generations.generations import Generations

POLL_SECONDS = 0.25
"""How often the log is asked: the promise is that an invalidation holds in all processes within 1 s."""

log = structlog.get_logger()


class GenerationWatcher:
    """Asks the log for news, and gives it back what it has lost. `clock` is a steady clock in seconds.

    While the log cannot be used the view stays as it is: what was found valid is found on, and nothing can be
    invalidated. A process that has not heard of the log since its start finds nothing and keeps nothing until it has:
    it cannot know what of the shared levels was invalidated.
    """

    def __init__(self, log: GenerationLog, generations: Generations, *, clock: Callable[[], float]) -> None:
        self._log = log
        self._generations = generations
        self._clock = clock
        self._heard_at = -math.inf
        self._is_gone = False

    async def hear(self) -> None:
        """Asks once. To be awaited before the first look-up, and then left to `run`. It never fails."""
        try:
            await self._ask()
        except GenerationsUnavailableError as error:
            self._note_gone(error.__cause__)
        else:
            self._heard_at = self._clock()
            self._note_back()

    async def run(self, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> NoReturn:
        """Goes on until it is cancelled."""
        while True:
            await pause(POLL_SECONDS)
            await self.hear()

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
        await self.hear()
        return generation

    def heard_seconds_ago(self, now: float) -> float:
        """How old the view is by the same clock; infinite if nothing was ever heard."""
        return now - self._heard_at

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

    def _note_gone(self, cause: BaseException | None) -> None:
        if not self._is_gone:
            self._is_gone = True
            log.warning(
                "the log of invalidations cannot be used: check that the state Redis runs, and its setting",
                setting="SHOAL_STATE_REDIS_URL",
                meanwhile=self._meanwhile(),
                cause=repr(cause),
            )

    def _meanwhile(self) -> str:
        if self._generations.epoch:
            return "answers are found as before, and none can be invalidated"
        return "no answer is found or kept, since any may have been invalidated"

    def _note_back(self) -> None:
        if self._is_gone:
            self._is_gone = False
            log.info("the log of invalidations can be used again")

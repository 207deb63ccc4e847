"""The port of the log of invalidations, which all cache processes share."""

from typing import Protocol

from services.cache.generations.generations import News

MOST_SCOPES = 100_000
"""So many scopes a log keeps. Beyond them it drops the oldest and raises its floor to the newest of those dropped, so
that it needs no more room and what it says stays right."""


class GenerationsUnavailableError(Exception):
    """The log cannot be used now."""


class GenerationLog(Protocol):
    """Scopes with the generations of their latest invalidations. All raise GenerationsUnavailableError."""

    async def since(self, generation: int, *, epoch: str) -> News:
        """What was invalidated after `generation`; everything, if the log's epoch is another one than `epoch`.

        A log that was never used, or has lost its data, begins a new epoch, and its knowledge begins with its first
        generation: nobody may trust what was computed before.
        """

    async def invalidate(self, scope: str) -> int:
        """Begins a new generation, later than every other one, and gives it to the scope."""

    async def restore(self, epoch: str, known: News) -> str:
        """Adds to a log what a process knows. The log's epoch afterwards; it is another one if the log knows more of
        the past now. Nothing happens, and the epoch is empty, if the log has been lost again since it was in `epoch`.

        An invalidation that the log ought to have known is made anew, since older answers may have been found and built
        upon meanwhile. What only processes knew that are gone stays lost: invalidations that nobody else had heard of
        when the log was lost.
        """

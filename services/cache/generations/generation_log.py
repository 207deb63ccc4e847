"""The port of the log of invalidations, which all cache processes share."""

from collections.abc import Mapping
from typing import Protocol

from services.cache.generations.generations import News


class GenerationsUnavailableError(Exception):
    """The log cannot be used now."""


class GenerationLog(Protocol):
    """Scopes with the generations of their latest invalidations. All raise GenerationsUnavailableError."""

    async def since(self, generation: int, *, epoch: str) -> News:
        """What was invalidated after `generation`; everything, if the log's epoch is another one than `epoch`.

        A log that was never used, or has lost its data, begins a new epoch whose floor is its first generation.
        """

    async def invalidate(self, scope: str) -> int:
        """Begins a new generation, later than every other one, and gives it to the scope."""

    async def restore(self, epoch: str, *, floor: int, scopes: Mapping[str, int]) -> None:
        """Tells a log that has lost its data what this process knows. Nothing happens if its epoch is another one."""

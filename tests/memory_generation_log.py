"""A log of invalidations in memory, in place of the one in Redis."""

from collections.abc import Callable

from services.cache.generations.generation_log import MOST_SCOPES
from services.cache.generations.generations import News


class MemoryGenerationLog:
    """A GenerationLog that is lost with its process.

    `micros` tells the time in microseconds; generations are later than that of the first call, and without a clock they
    are counted from 1. At most `most_scopes` scopes are kept.
    """

    def __init__(self, *, micros: Callable[[], int] = lambda: 1, most_scopes: int = MOST_SCOPES) -> None:
        self._micros = micros
        self._most_scopes = most_scopes
        self._life = str(micros())
        self._latest = self._beginning = micros()
        self._floor = 0
        self._scopes: dict[str, int] = {}

    async def since(self, generation: int, *, epoch: str) -> News:
        after = generation if epoch == self._epoch() else 0
        return News(
            epoch=self._epoch(),
            latest=self._latest,
            beginning=self._beginning,
            floor=self._floor,
            scopes={scope: its for scope, its in self._scopes.items() if its > after},
        )

    async def invalidate(self, scope: str) -> int:
        self._scopes[scope] = self._next_generation()
        self._forget()
        return self._latest

    async def restore(self, epoch: str, known: News) -> str:
        if epoch.rpartition(".")[0] != self._life:
            return ""
        self._latest = max(self._latest, known.latest)
        if known.floor > self._floor:
            self._floor = self._kept_or_anew(known.floor)
        for scope, generation in known.scopes.items():
            if generation > max(self._floor, self._scopes.get(scope, 0)):
                self._scopes[scope] = self._kept_or_anew(generation)
        self._forget()
        self._beginning = min(self._beginning, known.beginning)
        return self._epoch()

    def _epoch(self) -> str:
        return f"{self._life}.{self._beginning}"

    def _next_generation(self) -> int:
        self._latest = max(self._micros(), self._latest + 1)
        return self._latest

    def _kept_or_anew(self, generation: int) -> int:
        """Up to the beginning an invalidation keeps its generation, since nobody trusts anything that is older."""
        return generation if generation <= self._beginning else self._next_generation()

    def _forget(self) -> None:
        self._keep_after_floor()
        if (excess := len(self._scopes) - self._most_scopes) > 0:
            self._floor = sorted(self._scopes.values())[excess - 1]
            self._keep_after_floor()

    def _keep_after_floor(self) -> None:
        self._scopes = {scope: generation for scope, generation in self._scopes.items() if generation > self._floor}

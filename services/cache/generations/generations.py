"""What was invalidated when, as far as this process has heard.

A generation is a number that grows with every invalidation of anything. A scope's generation is that of its latest
invalidation. An answer is valid as long as none of its scopes has a later generation than the one in which its
computation began. A process that has not heard of an invalidation yet hands out leads of an earlier generation, so what
is computed with them is invalid too: the error is on the safe side.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class News:
    """What the log of invalidations has to tell to one who knows it up to some generation."""

    epoch: str
    """The life of the log: another one means that the log was lost meanwhile."""
    latest: int
    """The generation of the latest invalidation."""
    floor: int
    """Entries of generations before this are invalid, whatever their scopes: what was invalidated then is forgotten."""
    scopes: Mapping[str, int]
    """Scopes that were invalidated since, with their generations."""


class Generations:
    """The view of one process. It forgets nothing by itself; `News.floor` bounds what there is to know."""

    def __init__(self) -> None:
        self.epoch = ""
        self.latest = 0
        self.floor = 0
        self._scopes: dict[str, int] = {}

    def is_valid(self, generation: int, scopes: Iterable[str]) -> bool:
        """Whether an answer whose computation began in `generation` is still one."""
        if generation < self.floor:
            return False
        return all(self._scopes.get(scope, 0) <= generation for scope in scopes)

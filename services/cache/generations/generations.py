"""What was invalidated when, as far as this process has heard.

A generation is a number that grows with every invalidation of anything. A scope's generation is that of its latest
invalidation. An answer is valid as long as none of its scopes has a later generation than the one in which its
computation began. A process that has not heard of an invalidation yet hands out leads of an earlier generation, so what
is computed with them is invalid too: the error is on the safe side.

What two know can be put together in any order and any number of times: the later generation of each scope, the later
`floor`, the earlier `beginning`. So a process loses nothing when the log does, and can give back what it knows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

BEYOND_ALL = 2**64
"""No generation is as late."""

_FEW_SCOPES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What is known of invalidations: all of it, or all after some generation."""

    epoch: str
    """The life of the log. Another one than before means that the log may know less than it did, or earlier things
    that it did not."""
    latest: int
    """The generation of the latest invalidation."""
    beginning: int
    """Nobody knows what was invalidated before this generation: entries of earlier ones are invalid, whatever their
    scopes."""
    floor: int
    """What was invalidated up to this generation is forgotten on purpose: entries of earlier ones are invalid too."""
    scopes: Mapping[str, int]
    """Invalidated scopes with their generations, each of them after `floor`."""


class Generations:
    """The view of one process. Before its first news nothing is valid, since anything may have been invalidated; leads
    are of generation 0 then, and what is computed with them is never valid."""

    def __init__(self) -> None:
        self.epoch = ""
        """That of the last news; empty before the first."""
        self.latest = 0
        """Of what was invalidated up to this generation, everything was heard that the log of this epoch knew. Leads
        are of this generation."""
        self._newest = 0
        self._beginning = BEYOND_ALL
        self._floor = 0
        self._oldest_valid = BEYOND_ALL
        self._scopes: dict[str, int] = {}
        self._most_scopes = _FEW_SCOPES

    def has_heard_up_to(self, generation: int) -> bool:
        """Whether everything is known here that was invalidated until then; nothing is before the first news."""
        return self.epoch != "" and generation <= self.latest

    def is_valid(self, generation: int, scopes: Iterable[str]) -> bool:
        """Whether an answer whose computation began in `generation` is still one."""
        if generation < self._oldest_valid:
            return False
        # No scope's generation is later than the newest, so the common case needs no look at any of them.
        return generation >= self._newest or all(self._scopes.get(scope, 0) <= generation for scope in scopes)

    def learn(self, news: News) -> None:
        """Takes in what the log told."""
        self.latest = max(self.latest, news.latest) if news.epoch == self.epoch else news.latest
        self.epoch = news.epoch
        self._newest = max(self._newest, news.latest)
        self._beginning = min(self._beginning, news.beginning)
        self._floor = max(self._floor, news.floor)
        self._oldest_valid = max(self._beginning, self._floor)
        for scope, generation in news.scopes.items():
            self._note(scope, generation)
        self._forget()

    def invalidated(self, scope: str, generation: int) -> None:
        """Takes in one invalidation before the log tells of it.

        Leads are not of that generation yet: what others invalidated before it may not have been heard, and would still
        be found here and built upon.
        """
        self._newest = max(self._newest, generation)
        self._note(scope, generation)

    def known(self) -> News:
        """All that this process knows, for a log that has lost it."""
        return News(
            epoch=self.epoch,
            latest=self._newest,
            beginning=self._beginning,
            floor=self._floor,
            scopes=self._after_floor(),
        )

    def _note(self, scope: str, generation: int) -> None:
        self._scopes[scope] = max(generation, self._scopes.get(scope, 0))

    def _forget(self) -> None:
        """Scopes up to the floor decide nothing any more. They go when there may be as many of them as of others, so
        that each look at all of them is paid for by as many that came."""
        if len(self._scopes) > self._most_scopes:
            self._scopes = self._after_floor()
            self._most_scopes = max(_FEW_SCOPES, 2 * len(self._scopes))

    def _after_floor(self) -> dict[str, int]:
        return {scope: generation for scope, generation in self._scopes.items() if generation > self._floor}

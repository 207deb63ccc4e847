"""How the cache was used since the process started."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from services.cache.entry import Worth
from services.cache.policies import LevelName, Policy, PolicyName


@dataclass(slots=True)
class LevelCounts:
    """How one level was used."""

    hits: int = 0
    """Look-ups that it answered."""
    misses: int = 0
    """Look-ups in which it was asked and did not answer: it had no entry, an invalidated one, or a stale one and
    another level a better one."""
    failures: int = 0
    """Look-ups and stores that failed and were passed over."""
    stores: int = 0
    corrupt: int = 0
    """Entries found corrupt or unreadable; they count as misses too."""


@dataclass(slots=True)
class PolicyCounts:
    """How one policy was used: by level, and altogether."""

    levels: Mapping[LevelName, LevelCounts]
    hits: int = 0
    """Look-ups that found an answer at some level."""
    stale_hits: int = 0
    """Those of them that found a stale one."""
    misses: int = 0
    too_large: int = 0
    """Answers handed in that were not kept: larger than the policy allows."""
    invalidated: int = 0
    """Entries found, and answers handed in, that had been invalidated."""
    saved: Worth = field(default_factory=Worth)
    """What hits have saved; nothing where the one who was given a stale answer computes it anew."""

    @property
    def look_ups(self) -> int:
        return self.hits + self.misses

    def count_hit(self, worth: Worth, *, is_stale: bool) -> None:
        self.hits += 1
        self.stale_hits += is_stale
        self.saved += worth


Counts = Mapping[PolicyName, PolicyCounts]
"""One for each policy; they are counted up where things happen."""


def new_counts(policies: Iterable[Policy]) -> Counts:
    return {policy.name: PolicyCounts({level: LevelCounts() for level in policy.levels}) for policy in policies}


def total(counts: Counts, level: LevelName) -> LevelCounts:
    """How a level was used by all policies together."""
    of_policies = [policy.levels[level] for policy in counts.values() if level in policy.levels]
    return LevelCounts(
        **{each.name: sum(getattr(counted, each.name) for counted in of_policies) for each in fields(LevelCounts)}
    )

"""The numbers of a cache process, for whoever shows them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.cache.counts import Counts
from services.cache.levels.level import Holdings
from services.cache.policies import LevelName, PolicyName
from services.cache.ttl_tuning import TunedTtl


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """How the process was used since it started, and what it holds when it is asked."""

    counts: Counts
    holdings: Callable[[], Mapping[LevelName, Holdings | None]]
    """Of each level, nearest first; None for those that are shared."""
    ttls: Mapping[PolicyName, TunedTtl]

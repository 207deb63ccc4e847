"""Kinds of content: how long each is given out, at which levels it is kept, and up to which size."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

SHORTEST_RENEWAL_SECONDS = 5.0
LONGEST_RENEWAL_SECONDS = 60.0


class LevelName(StrEnum):
    """The levels, as callers see them, nearest first."""

    L1 = "l1"
    L2 = "l2"
    L3 = "l3"


class PolicyName(StrEnum):
    """The kinds, as they appear in storage keys, settings and metrics."""

    RESPONSE = "response"
    MODEL_OUTPUT = "model_output"
    CONVERSATION_CONTEXT = "conversation_context"
    TOOL_RESULT = "tool_result"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What holds for one kind of content."""

    name: PolicyName
    ttl_seconds: float
    """How long an entry is fresh."""
    levels: tuple[LevelName, ...]
    """Nearest first."""
    stale_seconds: float = 0.0
    """How much longer it is given out while one caller computes it anew."""
    max_bytes: int = 4 * 1024 * 1024
    """The largest entry that is kept."""
    compress: bool = True
    """Whether the levels beyond memory write entries of more than 1 KB compressed."""
    keeps_last: int | None = None
    """Only so many events are kept, the last ones; None keeps all."""
    ttl_min_seconds: float | None = None
    ttl_max_seconds: float | None = None
    """The bounds within which the time to live is tuned towards the target hit rate; without both it stays."""

    @property
    def renewal_seconds(self) -> float:
        """Who is asked to compute a stale answer anew has so long before another is asked: much shorter than it is
        given out, so that one who does not is not the end of it."""
        return min(max(self.stale_seconds / 4, SHORTEST_RENEWAL_SECONDS), LONGEST_RENEWAL_SECONDS)


DEFAULT_POLICIES: Mapping[PolicyName, Policy] = MappingProxyType(
    {
        policy.name: policy
        for policy in (
            Policy(
                name=PolicyName.RESPONSE,
                ttl_seconds=3600,
                levels=(LevelName.L1, LevelName.L2),
                stale_seconds=60,
            ),
            Policy(name=PolicyName.MODEL_OUTPUT, ttl_seconds=7200, levels=(LevelName.L2, LevelName.L3)),
            Policy(name=PolicyName.CONVERSATION_CONTEXT, ttl_seconds=1800, levels=(LevelName.L1,), keeps_last=10),
            Policy(name=PolicyName.TOOL_RESULT, ttl_seconds=600, levels=(LevelName.L1, LevelName.L2)),
        )
    }
)

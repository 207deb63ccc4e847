"""Kinds of content: how long each is kept, at which levels, and up to which size."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from services.cache.level import LevelName


class PolicyName(StrEnum):
    """The kinds, as they appear in storage keys."""

    RESPONSE = "response"


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for one kind of content."""

    ttl_seconds: float
    levels: tuple[LevelName, ...]
    """Nearest first."""
    max_bytes: int
    """The largest entry that is kept."""


def policy_table(*, response_ttl_seconds: float, entry_max_bytes: int) -> Mapping[PolicyName, Policy]:
    """One policy for every name."""
    return MappingProxyType(
        {
            PolicyName.RESPONSE: Policy(
                ttl_seconds=response_ttl_seconds,
                levels=(LevelName.L1, LevelName.L2),
                max_bytes=entry_max_bytes,
            ),
        }
    )

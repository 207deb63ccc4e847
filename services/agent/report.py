"""What a caller is told about a turn: how it began, and how it used the cache."""

from enum import StrEnum

import msgspec

from services.agent.ports import Lifetime


class CacheStatus(StrEnum):
    HIT = "hit"
    MISS = "miss"
    BYPASS = "bypass"


class CacheReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a turn used the cache."""

    status: CacheStatus
    key: str = ""
    """Empty if the cache was bypassed."""
    level: str = ""
    age_seconds: float = 0.0
    is_stale: bool = False
    """Level, age and staleness are those of a hit."""
    lifetime: Lifetime | None = None
    """How long the answer is given out; None if it is not kept, or if that is not known yet."""
    public: bool = False
    """Whether the caller said that caches in front of Shoal may share the answer."""


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a turn when it begins."""

    id: str
    stream_id: str
    model: str
    why: str
    cache: CacheReport
    session_id: str
    created: float
    """Unix time in seconds."""

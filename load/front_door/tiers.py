"""The tiers that a mesh has when nobody says otherwise, as those are in which load is measured."""

import math
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from services.ratelimit.settings import RatelimitSettings
from services.ratelimit.tiers import Tier, parse_tiers


def _defaults() -> Mapping[str, Tier]:
    [text] = [field.default for field in msgspec.structs.fields(RatelimitSettings) if field.name == "tiers"]
    tiers = parse_tiers(text)
    return MappingProxyType({name: tiers.of(name) for name in tiers})


TIERS = _defaults()
"""By name."""


def admits(tier: str, seconds: float) -> int:
    """What a key of the tier is admitted at most over so much time, when its bucket is full at the beginning."""
    limit = TIERS[tier].limit
    return math.floor(limit.capacity + limit.rate_per_second * seconds)

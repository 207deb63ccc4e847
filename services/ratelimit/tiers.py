"""Tiers: the named sizes of buckets."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from meshkit.identity import ANONYMOUS_TIER
from services.ratelimit.buckets.bucket import Limit

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_FORM = "write it as name=rate/burst, such as free=1/10"


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier: its name and the size of its buckets."""

    name: str
    limit: Limit


class Tiers:
    """The configured tiers. Raises ValueError without one for callers that have no key."""

    def __init__(self, tiers: dict[str, Tier]) -> None:
        if ANONYMOUS_TIER not in tiers:
            raise ValueError(f"the tier {ANONYMOUS_TIER!r} is missing: callers without a key need one")
        self._tiers = tiers

    def __contains__(self, name: str) -> bool:
        return name in self._tiers

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of the configuration."""
        return iter(self._tiers)

    @property
    def anonymous(self) -> Tier:
        return self._tiers[ANONYMOUS_TIER]

    def of(self, name: str) -> Tier:
        """The tier of that name. One that is no longer configured has the limits of callers without a key."""
        return self._tiers.get(name, self.anonymous)


def parse_tiers(text: str) -> Tiers:
    """Reads `free=1/10,basic=10/50`: tokens per second and capacity by name. Raises ValueError naming the fault."""
    tiers: dict[str, Tier] = {}
    for part in text.split(","):
        tier = _parse_tier(part.strip())
        if tier.name in tiers:
            raise ValueError(f"the tier {tier.name!r} is there twice")
        tiers[tier.name] = tier
    return Tiers(tiers)


def _parse_tier(text: str) -> Tier:
    name, _, size = text.partition("=")
    rate, _, capacity = size.partition("/")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{text!r} is no tier: {_FORM}; names are a-z 0-9 -, begin with a letter, at most 32 long")
    try:
        numbers = float(rate), int(capacity)
    except ValueError:
        raise ValueError(f"{text!r} is no tier: {_FORM}") from None
    try:
        return Tier(name, Limit(*numbers))
    except ValueError as error:
        raise ValueError(f"the tier {name!r} cannot be: {error}") from None

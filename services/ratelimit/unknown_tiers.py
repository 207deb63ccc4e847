"""Tells the log of tiers that keys have and the settings do not."""

from collections.abc import Iterable

import structlog

from services.ratelimit.keys import ApiKey
from services.ratelimit.tiers import Tiers

log = structlog.get_logger()


class UnknownTiers:
    """One line for those that are new in what is learned; each tier is told once."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers
        self._told: set[str] = set()

    def learned(self, keys: Iterable[ApiKey]) -> None:
        new = {key.tier for key in keys if key.tier not in self._tiers} - self._told
        if new:
            self._told |= new
            log.warning(
                "API keys have a tier that SHOAL_TIERS lacks, and so the limits of callers without a key: "
                "add the tier, or give the keys another one with `shoal keys update`",
                tiers=sorted(new),
            )

"""The buckets of one limiter for the time when the shared ones cannot be reached: its share of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.ratelimit.buckets.bucket import Decision, Level, Limit, Mode, Spend, refilled, take

REMEMBERED = 100_000


@dataclass(slots=True)
class _Share:
    """A bucket as this limiter knows it."""

    limit: Limit
    level: Level
    """What all shares together would hold if every limiter had taken as much as this one."""
    taken: int = 0
    """Tokens that were taken here and that the shared bucket does not know of."""


class LocalBuckets:
    """One limiter among several takes its share of a bucket when each token costs it as many as there are limiters.

    A bucket begins with what the shared one held when it was last seen, full if it never was. So all limiters together
    let through no more than its burst, and its rate from then on. Times are microseconds on one clock. The buckets that
    were not used for longest are forgotten.
    """

    def __init__(self, *, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._shares: dict[str, _Share] = {}

    def saw(self, spends: Sequence[Spend], decision: Decision, now: int) -> None:
        """Remembers what the shared buckets held after a decision."""
        for spend, holding in zip(spends, decision.holdings, strict=True):
            limit = spend.limit
            level = Level(holding.remaining * limit.grains_per_token, now, limit.grains_per_token)
            before = self._shares.pop(spend.bucket, None)
            self._remember(spend.bucket, _Share(limit, level, before.taken if before else 0))

    def take(self, spends: Sequence[Spend], now: int, *, sharers: int) -> Decision:
        """Takes all spends or none from the shares of one among `sharers` limiters."""
        shares = [self._shares.pop(spend.bucket, _unseen(spend.limit, now)) for spend in spends]
        levels = {spend.bucket: share.level for spend, share in zip(spends, shares, strict=True)}
        decision, changed = take([_as_one_of(sharers, spend) for spend in spends], levels, now)
        for spend, share, holding in zip(spends, shares, decision.holdings, strict=True):
            share.limit, share.level = spend.limit, changed.get(spend.bucket, share.level)
            if decision.allowed and not holding.wait_micros:
                share.taken = max(0, share.taken + spend.cost)
            self._remember(spend.bucket, share)
        holdings = tuple(
            replace(holding, limit=spend.limit, remaining=holding.remaining // sharers)
            for spend, holding in zip(spends, decision.holdings, strict=True)
        )
        return replace(decision, holdings=holdings, degraded=True)

    def owed(self, now: int, *, sharers: int) -> list[Spend]:
        """Charges for what was taken here and the shared buckets, which went on filling, do not know of.

        What came back meanwhile is not owed: no more than this limiter's share of a full bucket is.
        """
        return [
            Spend(name, share.limit, min(share.taken, missing), Mode.CHARGED)
            for name, share in self._shares.items()
            if share.taken and (missing := _missing(share, now, sharers))
        ]

    def lost(self, now: int, *, sharers: int) -> list[Spend]:
        """Charges that bring shared buckets that were forgotten, and so are full, to what they held."""
        return [
            Spend(name, share.limit, missing, Mode.CHARGED)
            for name, share in self._shares.items()
            if (missing := _missing(share, now, sharers))
        ]

    def settled(self, charge: Spend) -> None:
        """The shared bucket was charged."""
        if share := self._shares.get(charge.bucket):
            share.taken = 0

    def _remember(self, bucket: str, share: _Share) -> None:
        self._shares[bucket] = share
        if len(self._shares) > self._remembered:
            del self._shares[next(iter(self._shares))]


def _unseen(limit: Limit, now: int) -> _Share:
    return _Share(limit, Level(limit.full, now, limit.grains_per_token))


def _missing(share: _Share, now: int, sharers: int) -> int:
    """What one limiter's share lacks of a full one, in tokens, rounded up."""
    grains = share.limit.full - refilled(share.limit, share.level, now)
    return min(share.limit.capacity, -(-grains // (share.limit.grains_per_token * sharers)))


def _as_one_of(sharers: int, spend: Spend) -> Spend:
    cost, limit = spend.cost * sharers, spend.limit
    # A bucket that could never pay so much may save up for it.
    return Spend(spend.bucket, limit if cost <= limit.capacity else limit.enlarged(cost), cost, spend.mode)

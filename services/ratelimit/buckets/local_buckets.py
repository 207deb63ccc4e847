"""The buckets of one limiter for the time when the shared ones cannot be reached: its share of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from services.ratelimit.buckets.bucket import Decision, Level, Limit, Mode, Spend, refilled, take

REMEMBERED = 20_000


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
        self._owing: set[str] = set()

    def saw(self, spends: Sequence[Spend], decision: Decision, now: int) -> None:
        """Remembers what the shared buckets held after a decision, unless they lack what was taken here since."""
        for spend, holding in zip(spends, decision.holdings, strict=True):
            limit = spend.limit
            share = self._shares.pop(spend.bucket, None)
            if share is None or not share.taken:
                # Not from `remaining`, which shows no debt.
                grains = limit.full - holding.full_in_micros * limit.grains_per_micro
                share = _Share(limit, Level(grains, now, limit.grains_per_token))
            self._remember(spend.bucket, share)

    def take(self, spends: Sequence[Spend], now: int, *, sharers: int) -> Decision:
        """Takes all spends or none from the shares of one among `sharers` limiters."""
        shares = [self._shares.pop(spend.bucket, _unseen(spend.limit, now)) for spend in spends]
        levels = {spend.bucket: share.level for spend, share in zip(spends, shares, strict=True)}
        decision, changed = take([_as_one_of(sharers, spend) for spend in spends], levels, now)
        for spend, share, holding in zip(spends, shares, decision.holdings, strict=True):
            share.limit, share.level = spend.limit, changed.get(spend.bucket, share.level)
            if decision.allowed and not holding.wait_micros:
                share.taken = max(0, share.taken + spend.cost)
                self._owing.add(spend.bucket)
            self._remember(spend.bucket, share)
        holdings = tuple(
            replace(holding, limit=spend.limit, remaining=holding.remaining // sharers)
            for spend, holding in zip(spends, decision.holdings, strict=True)
        )
        return replace(decision, holdings=holdings, degraded=True)

    def owed(self, now: int, *, sharers: int) -> list[Spend]:
        """Hands over charges for what was taken here, and the shared buckets, which went on filling, do not know of.

        What came back meanwhile is not owed: no more than this limiter's share of a full bucket is.
        """
        charges = []
        for name in self._owing:
            share = self._shares[name]
            if cost := min(share.taken, _missing(share, now, sharers=sharers)):
                charges.append(Spend(name, share.limit, cost, Mode.CHARGED))
            share.taken = 0
        self._owing.clear()
        return charges

    def lost(self, now: int) -> list[Spend]:
        """What is known to be missing from shared buckets that were forgotten, and so are full."""
        self._owing.clear()
        missing = []
        for name, share in self._shares.items():
            # The level tells it already.
            share.taken = 0
            if cost := _missing(share, now, sharers=1):
                missing.append(Spend(name, share.limit, cost, Mode.MISSING))
        return missing

    def _remember(self, bucket: str, share: _Share) -> None:
        self._shares[bucket] = share
        if len(self._shares) > self._remembered:
            oldest = next(iter(self._shares))
            del self._shares[oldest]
            self._owing.discard(oldest)


def _unseen(limit: Limit, now: int) -> _Share:
    return _Share(limit, Level(limit.full, now, limit.grains_per_token))


def _missing(share: _Share, now: int, *, sharers: int) -> int:
    """What one limiter's share lacks of a full one, in tokens, rounded up."""
    grains = share.limit.full - refilled(share.limit, share.level, now)
    return min(share.limit.capacity, -(-grains // (share.limit.grains_per_token * sharers)))


def _as_one_of(sharers: int, spend: Spend) -> Spend:
    cost, limit = spend.cost * sharers, spend.limit
    # A bucket that could never pay so much may save up for it.
    return Spend(spend.bucket, limit if cost <= limit.capacity else limit.enlarged(cost), cost, spend.mode)

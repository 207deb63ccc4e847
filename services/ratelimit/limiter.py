"""The heart of the limiter: which buckets pay for a request, and whether it may go on."""

from collections.abc import Callable, Iterable

import msgspec

from meshkit.errors import Reason, ShoalError, field_invalid
from meshkit.identity import Identity
from services.ratelimit.buckets.bucket import Decision, Holding
from services.ratelimit.buckets.bucket_store import BucketStore
from services.ratelimit.callers import Asker, Caller, Callers
from services.ratelimit.limits import CallerLimits, CountShadow, Kind, Limits, Payment

ADDRESS = "address"
"""Whose limit it is that pays for callers without one good key."""


class Verdict(msgspec.Struct, frozen=True):
    """Whether the request of a caller may go on."""

    caller: Caller
    policy: str
    """Whose limit it is that the caller is told about."""
    decision: Decision
    metered: bool

    @property
    def holding(self) -> Holding:
        """The bucket that the caller is told about."""
        return self.decision.holdings[0]


class Limiter:
    """Decides on requests. `limits` tells those that hold now."""

    def __init__(
        self, *, callers: Callers, buckets: BucketStore, limits: Callable[[], Limits], count_shadow: CountShadow
    ) -> None:
        self._callers = callers
        self._buckets = buckets
        self._limits = limits
        self._count_shadow = count_shadow

    async def admit(self, asker: Asker, route: str, now: float) -> Verdict:
        """Spends one token for a request. `now` is as for `Callers.identify`; what that raises passes.

        Raises ShoalError LIMITER_UNAVAILABLE on a route that fails closed, if the decision is a degraded one.
        """
        caller = await self._callers.identify(asker, now)
        rule = self._limits().request(tier=caller.tier, tenant=caller.tenant, route=route)
        decision = caller.paid or await self._pay(rule.payments, caller.key_id, 1)
        if decision.degraded and rule.fail_closed:
            raise ShoalError(Reason.LIMITER_UNAVAILABLE, "The limits cannot be checked now; try again.")
        policy = ADDRESS if caller.paid else rule.payments[0].rate.name
        return Verdict(caller, policy, decision, rule.metered)

    async def take(self, identity: Identity, cost: int) -> tuple[CallerLimits, Decision]:
        """Spends from the caller's general bucket.

        Raises ShoalError if `cost` is 0 or more than the bucket ever holds.
        """
        limits = self._limits().of(tier=identity.tier, tenant=identity.tenant)
        rate = limits.requests
        if cost < 1:
            raise field_invalid("cost", "be 1 or more")
        if cost > rate.limit.capacity:
            raise ShoalError(
                Reason.COST_ABOVE_CAPACITY,
                f"The limit of '{rate.name}' never holds {cost} tokens; ask for {rate.limit.capacity} or fewer.",
                field="cost",
            )
        return limits, await self._pay(limits.payments, identity.key_id, cost)

    async def peek(self, identity: Identity) -> tuple[CallerLimits, Decision]:
        """Looks into the caller's general bucket."""
        limits = self._limits().of(tier=identity.tier, tenant=identity.tenant)
        return limits, await self._pay([Payment(limits.requests)], identity.key_id, 0)

    async def _pay(self, payments: Iterable[Payment], key_id: str, cost: int) -> Decision:
        decision = await self._buckets.take([payment.spend(key_id, cost) for payment in payments])
        if decision.allowed:
            for payment, holding in zip(payments, decision.holdings, strict=True):
                if payment.rate.shadow and holding.wait_micros:
                    self._count_shadow(Kind.REQUESTS, payment.rate.name)
        return decision

"""Limits: what a caller may do, by its tier, its tenant and the route it asks for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from meshkit.identity import ANONYMOUS_TIER
from services.ratelimit.buckets.bucket import Limit, Mode, Spend
from services.ratelimit.tiers import Tiers

OTHER_ROUTE = "other"
"""Whatever has no name of its own."""
ROUTES = ("task", "chat", "models", "sessions", "preferences", OTHER_ROUTE)
"""What can be asked for at the front door, by the names that Envoy sends."""

RULES_REMEMBERED = 1000


class Kind(StrEnum):
    """What a limit is about."""

    REQUESTS = "requests"
    MODEL_TOKENS = "model_tokens"
    CONCURRENT = "concurrent"


CountShadow = Callable[[Kind, str], None]
"""Is told the kind and the name of a shadow limit, each time that it would have refused what passed."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A limit that is kept by a token bucket. A shadow refuses nothing: what it would have refused is counted."""

    name: str
    """Whose limit it is, as a caller is told: a tier, a tenant or a route."""
    limit: Limit
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """How many calls of a caller may run at the same time. A shadow refuses nothing."""

    name: str
    """Whose limit it is, as for RateLimit."""
    calls: int
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Payment:
    """A bucket that pays for a request. That of a shadow is apart from the bucket that really pays."""

    rate: RateLimit
    route: str = ""
    """The route that it is for; empty for all that have none of their own."""

    def spend(self, key_id: str, cost: int) -> Spend:
        """A shadow is asked for no more than it ever holds."""
        bucket = f"bucket:{key_id}:{self.route}" if self.route else f"bucket:{key_id}"
        if not self.rate.shadow:
            return Spend(bucket, self.rate.limit, cost)
        return Spend(f"{bucket}:shadow", self.rate.limit, min(cost, self.rate.limit.capacity), Mode.SHADOW)

    def laid_over(self, payments: tuple["Payment", ...]) -> tuple["Payment", ...]:
        """What pays when this counts before the others: it alone, or, if it is a shadow, they and it beside them."""
        if not self.rate.shadow:
            return (self,)
        return (*(other for other in payments if not other.rate.shadow or other.route != self.route), self)


@dataclass(frozen=True, slots=True)
class CallerLimits:
    """All limits of one caller; None for a kind that is not limited."""

    requests: RateLimit
    """One that is enforced."""
    model_tokens: RateLimit | None = None
    concurrent: ConcurrencyLimit | None = None
    requests_shadow: RateLimit | None = None
    """What is tried beside `requests`."""

    @property
    def payments(self) -> tuple[Payment, ...]:
        """What pays for a request on a route that has no limit of its own."""
        held = Payment(self.requests)
        return (held, Payment(self.requests_shadow)) if self.requests_shadow else (held,)

    @property
    def metered(self) -> bool:
        """Whether calls of a model need a reservation."""
        return self.model_tokens is not None or self.concurrent is not None


@dataclass(frozen=True, slots=True)
class RouteLimits:
    """What a route changes; None where it changes nothing."""

    requests: RateLimit | None = None
    fail_closed: bool | None = None
    """Whether requests are refused while the shared limits cannot be reached."""


NO_CHANGE = RouteLimits()


@dataclass(frozen=True, slots=True)
class Overrides:
    """What is laid over a tier's limits; None where the tier's stay. No shadow takes the place of an enforced limit."""

    requests: RateLimit | None = None
    model_tokens: RateLimit | None = None
    concurrent: ConcurrencyLimit | None = None
    routes: Mapping[str, RouteLimits] = field(default_factory=dict)

    def applied_to(self, limits: CallerLimits) -> CallerLimits:
        """A shadow for requests is tried beside the limit that stays; one of another kind is not, and does nothing."""
        held, shadow = limits.requests, limits.requests_shadow
        if self.requests:
            held, shadow = (held, self.requests) if self.requests.shadow else (self.requests, None)
        return CallerLimits(
            requests=held,
            model_tokens=_stronger(self.model_tokens, limits.model_tokens),
            concurrent=_stronger(self.concurrent, limits.concurrent),
            requests_shadow=shadow,
        )


AnyLimit = TypeVar("AnyLimit", RateLimit, ConcurrencyLimit)


def _stronger(own: AnyLimit | None, general: AnyLimit | None) -> AnyLimit | None:
    """The one of its own, unless it is the shadow of a limit that is enforced in general."""
    if own is None or (own.shadow and general is not None and not general.shadow):
        return general
    return own


@dataclass(frozen=True, slots=True)
class RequestRule:
    """What decides on a request."""

    payments: tuple[Payment, ...]
    """The first is the one that the client is told about; the others are shadows that are tried beside it."""
    fail_closed: bool
    metered: bool


def tier_limits(tiers: Tiers) -> dict[str, CallerLimits]:
    """The limits that the settings give to tiers, by their names."""
    return {name: CallerLimits(RateLimit(name, tiers.of(name).limit)) for name in tiers}


class Limits:
    """The limits that hold. `tiers` must have one for callers without a key."""

    def __init__(
        self,
        tiers: Mapping[str, CallerLimits],
        *,
        tenants: Mapping[str, Overrides] | None = None,
        routes: Mapping[str, RouteLimits] | None = None,
    ) -> None:
        self._tiers = tiers
        self._tenants = tenants or {}
        self._routes = routes or {}
        # There are few different rules, and each request needs one.
        self._rule = lru_cache(RULES_REMEMBERED)(self._make_rule)

    def of(self, *, tier: str, tenant: str) -> CallerLimits:
        """The limits of a caller. A tier that is no longer configured has the limits of callers without a key."""
        limits = self._tiers.get(tier) or self._tiers[ANONYMOUS_TIER]
        overrides = self._tenants.get(tenant)
        return overrides.applied_to(limits) if overrides else limits

    def request(self, *, tier: str, tenant: str, route: str) -> RequestRule:
        """What decides on a caller's request.

        A route with a limit of its own has a bucket of its own for each client, and that pays instead of the general
        one. A tenant's route goes before the route of all. Shadows are tried beside what pays without them.
        """
        return self._rule(tier, tenant if tenant in self._tenants else "", route)

    def _make_rule(self, tier: str, tenant: str, route: str) -> RequestRule:
        limits = self.of(tier=tier, tenant=tenant)
        payments, fail_closed = limits.payments, False
        for on_route in self._on_route(tenant, route):
            if on_route.requests:
                payments = Payment(on_route.requests, route).laid_over(payments)
            if on_route.fail_closed is not None:
                fail_closed = on_route.fail_closed
        return RequestRule(payments, fail_closed, limits.metered)

    def _on_route(self, tenant: str, route: str) -> tuple[RouteLimits, RouteLimits]:
        """What holds on the route for all, and what for the tenant."""
        overrides = self._tenants.get(tenant)
        own = overrides.routes.get(route, NO_CHANGE) if overrides else NO_CHANGE
        return self._routes.get(route, NO_CHANGE), own

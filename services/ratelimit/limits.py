"""Limits: what a caller may do, by its tier, its tenant and the route it asks for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

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
class CallerLimits:
    """All limits of one caller; None for a kind that is not limited."""

    requests: RateLimit
    model_tokens: RateLimit | None = None
    concurrent: ConcurrencyLimit | None = None

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

    def over(self, general: "RouteLimits") -> "RouteLimits":
        """These, and what the general ones say where these say nothing."""
        return RouteLimits(
            requests=self.requests or general.requests,
            fail_closed=general.fail_closed if self.fail_closed is None else self.fail_closed,
        )


NO_CHANGE = RouteLimits()


@dataclass(frozen=True, slots=True)
class Overrides:
    """What takes the place of a tier's limits; None where the tier's stay."""

    requests: RateLimit | None = None
    model_tokens: RateLimit | None = None
    concurrent: ConcurrencyLimit | None = None
    routes: Mapping[str, RouteLimits] = field(default_factory=dict)

    def applied_to(self, limits: CallerLimits) -> CallerLimits:
        return CallerLimits(
            requests=self.requests or limits.requests,
            model_tokens=self.model_tokens or limits.model_tokens,
            concurrent=self.concurrent or limits.concurrent,
        )


@dataclass(frozen=True, slots=True)
class Payment:
    """A bucket that pays for a request."""

    rate: RateLimit
    route: str = ""
    """The route that it is for; empty for the client's general bucket."""

    def spend(self, key_id: str, cost: int) -> Spend:
        bucket = f"bucket:{key_id}:{self.route}" if self.route else f"bucket:{key_id}"
        return Spend(bucket, self.rate.limit, cost, Mode.SHADOW if self.rate.shadow else Mode.ENFORCED)


@dataclass(frozen=True, slots=True)
class RequestRule:
    """What decides on a request."""

    payments: tuple[Payment, ...]
    """The first is the one that the client is told about; a second one is a shadow that is tried beside it."""
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
        one. If that limit is a shadow, the general bucket goes on to pay, and the shadow is tried beside it.
        """
        return self._rule(tier, tenant if tenant in self._tenants else "", route)

    def _make_rule(self, tier: str, tenant: str, route: str) -> RequestRule:
        limits = self.of(tier=tier, tenant=tenant)
        on_route = self._on_route(tenant, route)
        payments: tuple[Payment, ...] = (Payment(limits.requests),)
        if on_route.requests:
            own = Payment(on_route.requests, route)
            payments = (*payments, own) if own.rate.shadow else (own,)
        return RequestRule(payments, bool(on_route.fail_closed), limits.metered)

    def _on_route(self, tenant: str, route: str) -> RouteLimits:
        general = self._routes.get(route, NO_CHANGE)
        overrides = self._tenants.get(tenant)
        own = overrides.routes.get(route) if overrides else None
        return own.over(general) if own else general

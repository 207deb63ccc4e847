"""The limits file: what tiers, tenants and routes have beyond the tiers of the settings."""

from dataclasses import replace
from typing import Annotated

import msgspec

from meshkit.identity import ANONYMOUS_TENANT, ANONYMOUS_TIER
from services.ratelimit import yaml_lines
from services.ratelimit.buckets.bucket import LARGEST_CAPACITY, Limit
from services.ratelimit.keys import TENANT_PATTERN
from services.ratelimit.limits import ROUTES, ConcurrencyLimit, Limits, Overrides, RateLimit, RouteLimits, tier_limits
from services.ratelimit.tiers import Tiers
from services.ratelimit.yaml_lines import fault_at

MOST_CALLS = 100_000

Count = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_CAPACITY)]
RouteName = Annotated[str, msgspec.Meta(pattern=f"^({'|'.join(ROUTES)})$")]
TenantName = Annotated[str, msgspec.Meta(pattern=f"^{TENANT_PATTERN}$")]


class _Requests(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    per_second: Annotated[float, msgspec.Meta(gt=0, le=LARGEST_CAPACITY)]
    burst: Count
    shadow: bool = False

    def __post_init__(self) -> None:
        self.limit()

    def limit(self) -> Limit:
        return Limit(self.per_second, self.burst)


class _ModelTokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    per_minute: Count
    burst: Count | None = None
    shadow: bool = False

    def __post_init__(self) -> None:
        self.limit()

    def limit(self) -> Limit:
        return Limit.per(self.per_minute, 60, capacity=self.burst)


class _Concurrent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    calls: Annotated[int, msgspec.Meta(ge=1, le=MOST_CALLS)]
    shadow: bool = False


class _Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    requests: _Requests | None = None
    fail_closed: bool | None = None

    def limits(self, name: str) -> RouteLimits:
        return RouteLimits(_rate_limit(name, self.requests), self.fail_closed)


class _Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    requests: _Requests | None = None
    model_tokens: _ModelTokens | None = None
    concurrent: _Concurrent | None = None

    def overrides(self, name: str) -> Overrides:
        concurrent = self.concurrent
        return Overrides(
            requests=_rate_limit(name, self.requests),
            model_tokens=_rate_limit(name, self.model_tokens),
            concurrent=ConcurrencyLimit(name, concurrent.calls, concurrent.shadow) if concurrent else None,
        )


class _Tenant(_Tier, frozen=True, forbid_unknown_fields=True):
    routes: dict[RouteName, _Route] = {}

    def overrides(self, name: str) -> Overrides:
        return replace(super().overrides(name), routes=_route_limits(self.routes))


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tiers: dict[str, _Tier] = {}
    tenants: dict[TenantName, _Tenant] = {}
    routes: dict[RouteName, _Route] = {}


def read_limits(text: str, tiers: Tiers) -> Limits:
    """The limits of a file; tiers that it leaves out keep those of the settings.

    Raises FaultyFileError, which tells the line.
    """
    file = yaml_lines.read(text, _File)
    for name in file.tiers:
        if name not in tiers:
            raise fault_at(text, ["tiers", name], f"there is no tier {name!r}; SHOAL_TIERS has {', '.join(tiers)}")
    for name in file.tenants:
        if name.startswith(ANONYMOUS_TENANT):
            raise fault_at(text, ["tenants", name], f"callers without a key are limited by the tier {ANONYMOUS_TIER!r}")
    of_tiers = tier_limits(tiers)
    of_tiers |= {name: tier.overrides(name).applied_to(of_tiers[name]) for name, tier in file.tiers.items()}
    return Limits(
        of_tiers,
        tenants={name: tenant.overrides(name) for name, tenant in file.tenants.items()},
        routes=_route_limits(file.routes),
    )


def _route_limits(routes: dict[str, _Route]) -> dict[str, RouteLimits]:
    return {name: route.limits(name) for name, route in routes.items()}


def _rate_limit(name: str, written: _Requests | _ModelTokens | None) -> RateLimit | None:
    return RateLimit(name, written.limit(), written.shadow) if written else None

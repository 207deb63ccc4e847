"""The limits file: what tiers, tenants and routes have beyond the tiers of the settings."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Annotated

import msgspec

from meshkit.identity import ANONYMOUS_TENANT, ANONYMOUS_TIER
from services.ratelimit import yaml_lines
from services.ratelimit.buckets.bucket import LARGEST_CAPACITY, Limit
from services.ratelimit.keys import TENANT_PATTERN
from services.ratelimit.limits import ROUTES, ConcurrencyLimit, Limits, Overrides, RateLimit, RouteLimits, tier_limits
from services.ratelimit.tiers import Tiers
from services.ratelimit.yaml_lines import YamlPath, fault_at

MOST_CALLS = 100_000

Count = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_CAPACITY)]
TenantName = Annotated[str, msgspec.Meta(pattern=f"^{TENANT_PATTERN}$")]


Fault = tuple[YamlPath, str]
"""Where it is, and what is wrong."""


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
    routes: dict[str, _Route] = {}

    def overrides(self, name: str) -> Overrides:
        return replace(super().overrides(name), routes=_route_limits(self.routes))


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tiers: dict[str, _Tier] = {}
    tenants: dict[TenantName, _Tenant] = {}
    routes: dict[str, _Route] = {}


def read_limits(text: str, tiers: Tiers, *, fail_open: Collection[str] = ()) -> Limits:
    """The limits of a file; tiers that it leaves out keep those of the settings.

    `fail_open` has the routes on which Envoy lets pass what the limiter fails to answer; none of them can fail closed.
    Raises FaultyFileError, which tells the line.
    """
    file = yaml_lines.read(text, _File)
    if fault := next(_faults(file, tiers, fail_open), None):
        raise fault_at(text, *fault)
    of_tiers = tier_limits(tiers)
    of_tiers |= {name: tier.overrides(name).applied_to(of_tiers[name]) for name, tier in file.tiers.items()}
    return Limits(
        of_tiers,
        tenants={name: tenant.overrides(name) for name, tenant in file.tenants.items()},
        routes=_route_limits(file.routes),
    )


def _faults(file: _File, tiers: Tiers, fail_open: Collection[str]) -> Iterator[Fault]:
    """What the kinds of the fields cannot say."""
    for name in file.tiers:
        if name not in tiers:
            yield ["tiers", name], f"there is no tier {name!r}; SHOAL_TIERS has {', '.join(tiers)}"
    yield from _route_faults(["routes"], file.routes, fail_open)
    for name, tenant in file.tenants.items():
        if name.startswith(ANONYMOUS_TENANT):
            yield ["tenants", name], f"callers without a key are limited by the tier {ANONYMOUS_TIER!r}"
        yield from _route_faults(["tenants", name, "routes"], tenant.routes, fail_open)


def _route_faults(path: YamlPath, routes: dict[str, _Route], fail_open: Collection[str]) -> Iterator[Fault]:
    for name, route in routes.items():
        if name not in ROUTES:
            yield [*path, name], f"there is no route {name!r}; routes are {', '.join(ROUTES)}"
        if route.fail_closed and name in fail_open:
            # The refusal would be an error to Envoy, which lets the request pass then.
            yield [*path, name, "fail_closed"], f"the route {name!r} fails open: SHOAL_FAIL_OPEN_ROUTES names it"


def _route_limits(routes: dict[str, _Route]) -> dict[str, RouteLimits]:
    return {name: route.limits(name) for name, route in routes.items()}


def _rate_limit(name: str, written: _Requests | _ModelTokens | None) -> RateLimit | None:
    return RateLimit(name, written.limit(), written.shadow) if written else None

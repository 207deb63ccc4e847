"""What parts of the mesh that do not know each other say alike."""

from envoyconf import routes, topology
from envoyconf.filters import LIMITER_DOMAIN
from envoyconf.route_names import OTHER, ROUTE_NAMES
from meshkit import call
from services.ratelimit.domains.domain import OUR_DOMAIN
from services.ratelimit.limits import OTHER_ROUTE, ROUTES


def test_the_limiter_knows_the_routes_that_envoy_names() -> None:
    assert sorted(ROUTES) == sorted(ROUTE_NAMES)
    assert OTHER_ROUTE == OTHER


def test_the_limiter_knows_the_domain_of_our_envoy() -> None:
    assert OUR_DOMAIN == LIMITER_DOMAIN


def test_envoy_balances_the_cache_by_the_header_that_its_callers_send() -> None:
    assert topology.CACHE_KEY_HEADER == call.CACHE_KEY_HEADER


def test_envoy_balances_the_agents_by_the_headers_that_the_gateway_sends() -> None:
    assert (routes.SESSION_HEADER, routes.ADDRESS_HEADER) == (call.SESSION_HEADER, call.ADDRESS_HEADER)

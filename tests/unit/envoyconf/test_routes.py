"""The routes: their names, what passes without the limiter, and which calls are made again after a failure."""

from dataclasses import replace

import pytest

from envoyconf.extension import EnvoyObject
from envoyconf.filters import OPEN_LIMITER_FILTER
from envoyconf.route_names import OTHER, RPCS
from envoyconf.routes import front_routes, inner_routes
from envoyconf.topology import FailOpen, Topology
from shoal.agent.v1 import agent_pb2

TOPOLOGY = Topology.default()


def retried_on(configuration: EnvoyObject, path: str) -> set[str]:
    """The failures after which Envoy makes the gRPC call again, by the first route that matches it."""
    for route in configuration["virtual_hosts"][0]["routes"]:
        match = route["match"]
        if match.get("path") == path or ("prefix" in match and path.startswith(match["prefix"])):
            return set(route["route"]["retry_policy"]["retry_on"].split(","))
    raise AssertionError(f"no route matches {path}")


@pytest.mark.parametrize(
    "rpc",
    [
        "/shoal.agent.v1.AgentService/PutPreferences",
        "/shoal.ratelimit.v1.RateLimitService/CreateApiKey",
        "/shoal.ratelimit.v1.RateLimitService/Take",
    ],
)
def test_inside_a_write_is_made_again_only_if_nobody_saw_it(rpc: str) -> None:
    assert retried_on(inner_routes(TOPOLOGY), rpc) == {"connect-failure", "refused-stream"}


@pytest.mark.parametrize(
    "rpc", ["/shoal.agent.v1.AgentService/Execute", "/shoal.cache.v1.CacheService/Open", "/grpc.health.v1.Health/Check"]
)
def test_inside_other_calls_are_made_again_when_a_replica_says_that_it_is_unavailable(rpc: str) -> None:
    assert "unavailable" in retried_on(inner_routes(TOPOLOGY), rpc)


def test_at_the_front_door_putting_preferences_is_made_again_only_if_nobody_saw_it() -> None:
    routes = front_routes(TOPOLOGY)
    assert "unavailable" not in retried_on(routes, "/shoal.agent.v1.AgentService/PutPreferences")
    assert "unavailable" in retried_on(routes, "/shoal.agent.v1.AgentService/GetPreferences")


def routes_by_name(topology: Topology) -> dict[str, list[EnvoyObject]]:
    """The limited routes of the front door, by the name that the limiter is told."""
    found: dict[str, list[EnvoyObject]] = {}
    for route in front_routes(topology)["virtual_hosts"][0]["routes"]:
        for limit in route.get("route", {}).get("rate_limits", []):
            entries = [action["generic_key"] for action in limit["actions"] if "generic_key" in action]
            told = {entry["descriptor_key"]: entry["descriptor_value"] for entry in entries}
            found.setdefault(told["route"], []).append(route)
    return found


def test_every_rpc_of_the_agent_has_a_name_of_its_own() -> None:
    methods = [
        f"/{service.full_name}/{rpc.name}"
        for service in [agent_pb2.DESCRIPTOR.services_by_name["AgentService"]]
        for rpc in service.methods
    ]
    unnamed = [rpc for rpc in methods if next(name for prefix, name in RPCS.items() if rpc.startswith(prefix)) == OTHER]
    assert not unnamed


def test_exactly_the_chosen_routes_fail_open_with_the_identity_that_was_signed_for_them() -> None:
    topology = replace(TOPOLOGY, fail_open=FailOpen(routes=frozenset({"models", "chat"}), identity="signed"))
    for name, routes in routes_by_name(topology).items():
        for route in routes:
            is_open = OPEN_LIMITER_FILTER in route.get("typed_per_filter_config", {})
            given = [entry["header"]["value"] for entry in route.get("request_headers_to_add", [])]
            assert (is_open, given) == ((True, ["signed"]) if name in {"models", "chat"} else (False, []))


def test_by_default_no_route_fails_open() -> None:
    assert not [
        route
        for routes in routes_by_name(TOPOLOGY).values()
        for route in routes
        if {"typed_per_filter_config", "request_headers_to_add"} & route.keys()
    ]

"""The routes: which calls are made again after a failure that may have come too late."""

import pytest

from envoyconf.extension import EnvoyObject
from envoyconf.routes import front_routes, inner_routes
from envoyconf.topology import Topology

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

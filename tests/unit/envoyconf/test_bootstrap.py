"""The rendered bootstrap: equal to the golden file, readable, and bound to this machine."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from envoyconf.bootstrap import bootstrap, render
from envoyconf.endpoints import endpoints_file
from envoyconf.golden import golden_files
from envoyconf.load_balancing import LoadBalancing
from envoyconf.topology import FailOpen, TlsFiles, Topology

ROOT = Path(__file__).parents[3]
REFRESH = "A golden file is old. Look at the difference, then: python -m envoyconf"
EVERYTHING = replace(
    Topology.default(agent_replicas=5, gateways=2, limiters=3, caches=2),
    fail_open=FailOpen(routes=frozenset({"task"}), identity="<signed identity>"),
    tls=TlsFiles(cert_file="cert.pem", key_file="key.pem"),
    otlp_endpoint="http://127.0.0.1:4318",
)


def objects(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping inside `node`, with repetitions."""
    if isinstance(node, dict):
        yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from objects(child)


def listener_ports(topology: Topology) -> dict[str, int]:
    return {
        listener["name"]: listener["address"]["socket_address"]["port_value"]
        for listener in bootstrap(topology)["static_resources"]["listeners"]
    }


@pytest.mark.parametrize("path", golden_files())
def test_a_golden_file_is_what_is_rendered(path: str) -> None:
    assert (ROOT / path).read_text() == golden_files()[path], REFRESH


def test_no_object_is_shared_so_the_text_has_no_anchors() -> None:
    ids = [id(node) for node in objects(bootstrap(EVERYTHING)) if node]
    assert len(ids) == len(set(ids))
    assert "&id" not in render(EVERYTHING)


def test_the_text_means_the_same_as_the_objects() -> None:
    assert yaml.safe_load(render(EVERYTHING)) == bootstrap(EVERYTHING)


def test_everything_is_on_this_machine_only() -> None:
    addresses = {
        node["socket_address"]["address"] for node in objects(bootstrap(EVERYTHING)) if "socket_address" in node
    }
    assert addresses == {"127.0.0.1"}


def test_without_tls_the_front_door_is_plain() -> None:
    assert listener_ports(Topology.default()) == {"front": 8080, "inner": 8090}


def test_with_tls_the_plain_port_only_redirects() -> None:
    assert listener_ports(EVERYTHING) == {"redirect": 8080, "tls": 8443, "inner": 8090}


def clusters_of(topology: Topology) -> dict[str, dict[str, Any]]:
    return {cluster["name"]: cluster for cluster in bootstrap(topology)["static_resources"]["clusters"]}


def test_each_pool_is_a_cluster_whose_processes_are_in_a_watched_file() -> None:
    clusters = clusters_of(EVERYTHING)
    assert set(clusters) == {"ratelimit", "ratelimit-rls", "cache", "agent", "gateway", "agent-open", "otlp"}
    for pool in EVERYTHING.pools():
        source = clusters[pool.name]["eds_cluster_config"]["eds_config"]["path_config_source"]
        assert source["path"] == endpoints_file(EVERYTHING.files, pool.name)
        assert str(Path(source["path"]).parent) == source["watched_directory"]["path"]


def test_by_default_only_the_cache_is_balanced_by_what_a_call_is_about() -> None:
    policies = {pool.name: clusters_of(EVERYTHING)[pool.name]["lb_policy"] for pool in EVERYTHING.pools()}
    assert policies.pop("cache") == "RING_HASH"
    assert set(policies.values()) == {"LEAST_REQUEST"}
    hashed = [node["header_name"] for node in objects(bootstrap(EVERYTHING)) if "header_name" in node]
    assert hashed.count("x-shoal-cache-key") == 1


@pytest.mark.parametrize(
    ("setting", "policy", "hashed_by"),
    [
        ("round_robin", "ROUND_ROBIN", set()),
        ("weights:3:1:1", "ROUND_ROBIN", set()),
        ("ring_hash:session", "RING_HASH", {"x-session-id", "x-shoal-client-address"}),
        ("maglev:address", "MAGLEV", {"x-shoal-client-address"}),
    ],
)
def test_the_strategy_is_for_the_agents_alone(setting: str, policy: str, hashed_by: set[str]) -> None:
    topology = replace(Topology.default(), load_balancing=LoadBalancing.parse(setting))
    policies = {pool.name: clusters_of(topology)[pool.name]["lb_policy"] for pool in topology.pools()}
    assert policies.pop("agent") == policy
    assert policies == {
        "ratelimit": "LEAST_REQUEST",
        "ratelimit-rls": "LEAST_REQUEST",
        "cache": "RING_HASH",
        "gateway": "LEAST_REQUEST",
    }
    inner = bootstrap(topology)["static_resources"]["listeners"][-1]
    headers = {node["header_name"] for node in objects(inner) if "header_name" in node}
    assert headers - {"x-shoal-cache-key"} == hashed_by


def test_connections_of_strangers_leave_those_of_our_services_their_places() -> None:
    ignoring = {
        listener["name"]: listener.get("ignore_global_conn_limit", False)
        for listener in bootstrap(EVERYTHING)["static_resources"]["listeners"]
    }
    assert ignoring == {"redirect": False, "tls": False, "inner": True}


def test_with_tls_inside_every_pool_and_the_inner_listener_have_it() -> None:
    topology = replace(Topology.default(), mesh_tls=True)
    assert all("transport_socket" in clusters_of(topology)[pool.name] for pool in topology.pools())
    inner = bootstrap(topology)["static_resources"]["listeners"][-1]
    context = inner["filter_chains"][0]["transport_socket"]["typed_config"]
    assert context["require_client_certificate"] is True
    assert "transport_socket" not in render(Topology.default())


def test_a_stream_ends_by_our_services_first_and_a_silent_one_not_before_the_model_may_be() -> None:
    topology = replace(Topology.default(), stream_max_seconds=60, idle_seconds=200)
    caps = [node["max_stream_duration"] for node in objects(bootstrap(topology)) if "max_stream_duration" in node]
    # What spends no tokens ends sooner.
    assert {cap for cap in caps if isinstance(cap, str)} == {"70s", "10s"}
    routes = [node for node in objects(bootstrap(topology)) if "match" in node and "cluster" in node.get("route", {})]
    silence = {str(next(iter(route["match"].values()))): route["route"]["idle_timeout"] for route in routes}
    in_one_piece = {"/shoal.agent.v1.AgentService/Execute", "/api/v1/task", "/v1/chat/completions"}
    assert {path for path, idle in silence.items() if idle == "70s"} == in_one_piece
    assert {idle for path, idle in silence.items() if path not in in_one_piece} == {"200s"}


def test_the_heap_s_actions_come_one_after_the_other() -> None:
    begins = [
        trigger.get("threshold", {}).get("value") or trigger["scaled"]["scaling_threshold"]
        for action in bootstrap(EVERYTHING)["overload_manager"]["actions"]
        for trigger in action["triggers"]
    ]
    assert begins == sorted(begins)


def test_tracing_is_on_only_with_a_collector() -> None:
    assert "tracing" not in render(Topology.default())
    assert "http://127.0.0.1:4318/v1/traces" in render(EVERYTHING)


def test_an_identity_is_in_the_file_only_if_a_route_fails_open() -> None:
    assert "x-shoal-identity" not in render(Topology.default())
    assert "<signed identity>" in render(EVERYTHING)


def test_strangers_calls_that_cost_nothing_take_no_place_from_turns() -> None:
    clusters = clusters_of(Topology.default())
    opened = clusters["agent-open"]
    assert opened["eds_cluster_config"]["service_name"] == "agent"
    [few] = opened["circuit_breakers"]["thresholds"]
    assert few["max_requests"] < clusters["agent"]["circuit_breakers"]["thresholds"][0]["max_requests"]
    assert "outlier_detection" not in opened
    assert "admission_control" not in str(opened)
    free = [
        node["route"]["cluster"]
        for node in objects(bootstrap(Topology.default()))
        if "route" in node and "match" in node and str(node["match"].get("path", "")).startswith("/grpc.health")
    ]
    assert free == ["agent-open"]

"""The rendered bootstrap: equal to the golden file, readable, and bound to this machine."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from envoyconf.bootstrap import bootstrap, render
from envoyconf.topology import FailOpen, TlsFiles, Topology

GOLDEN = Path(__file__).parents[3] / "envoy" / "rendered" / "envoy.yaml"
REFRESH = "The golden file is old. Look at the difference, then: python -m envoyconf > envoy/rendered/envoy.yaml"
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


def test_the_golden_file_is_what_is_rendered() -> None:
    assert GOLDEN.read_text() == render(Topology.default()), REFRESH


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


def test_each_pool_is_a_cluster_with_all_its_ports() -> None:
    clusters = {cluster["name"]: cluster for cluster in bootstrap(EVERYTHING)["static_resources"]["clusters"]}
    assert set(clusters) == {"ratelimit", "ratelimit-rls", "cache", "agent", "gateway", "otlp"}
    for pool in EVERYTHING.pools():
        found = [node["port_value"] for node in objects(clusters[pool.name]) if "port_value" in node]
        assert tuple(found) == pool.ports


def test_only_the_cache_is_balanced_by_what_a_call_is_about() -> None:
    clusters = {cluster["name"]: cluster for cluster in bootstrap(EVERYTHING)["static_resources"]["clusters"]}
    policies = {pool.name: clusters[pool.name]["lb_policy"] for pool in EVERYTHING.pools()}
    assert policies.pop("cache") == "RING_HASH"
    assert set(policies.values()) == {"LEAST_REQUEST"}
    hashed = [node["header_name"] for node in objects(bootstrap(EVERYTHING)) if "header_name" in node]
    assert hashed.count("x-shoal-cache-key") == 1


def test_tracing_is_on_only_with_a_collector() -> None:
    assert "tracing" not in render(Topology.default())
    assert "http://127.0.0.1:4318/v1/traces" in render(EVERYTHING)


def test_an_identity_is_in_the_file_only_if_a_route_fails_open() -> None:
    assert "x-shoal-identity" not in render(Topology.default())
    assert "<signed identity>" in render(EVERYTHING)

"""The bootstrap as a whole, and as YAML."""

import yaml

from envoyconf.clusters import clusters
from envoyconf.endpoints import socket_address
from envoyconf.extension import EnvoyObject, extension
from envoyconf.listeners import listeners
from envoyconf.topology import LOOPBACK, Topology

HEADER = "# Envoy 1.40 bootstrap of Shoal, written by envoyconf. Change envoy/envoyconf and render it again.\n"


def render(topology: Topology) -> str:
    """The bootstrap as readable YAML; the same topology always gives the same text."""
    return HEADER + yaml.safe_dump(bootstrap(topology), sort_keys=False, width=120, allow_unicode=True)


def bootstrap(topology: Topology) -> EnvoyObject:
    """Everything that Envoy needs to know at its start."""
    return {
        "node": {"id": "shoal", "cluster": "shoal"},
        "admin": {"address": socket_address(LOOPBACK, topology.envoy.admin)},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": runtime()}]},
        "overload_manager": overload_manager(),
        "static_resources": {"listeners": listeners(topology), "clusters": clusters(topology)},
    }


def runtime() -> EnvoyObject:
    """Runtime switches that differ from Envoy's defaults."""
    return {
        # Else a timeout reaches gRPC clients as UNAVAILABLE, which they would retry.
        "envoy.reloadable_features.grpc_timeout_returns_deadline_exceeded": True,
    }


def overload_manager() -> EnvoyObject:
    """A bound on the clients' connections, which Envoy has not by itself."""
    connections = extension(
        "envoy.resource_monitors.global_downstream_max_connections",
        "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=20000,
    )
    return {"resource_monitors": [connections]}

"""The bootstrap as a whole, and as YAML."""

from envoyconf.clusters import clusters
from envoyconf.endpoints import socket_address
from envoyconf.extension import EnvoyObject
from envoyconf.files import as_yaml
from envoyconf.listeners import listeners
from envoyconf.overload import overload_manager
from envoyconf.runtime import layered_runtime
from envoyconf.topology import LOOPBACK, Topology

HEADER = "# Envoy 1.40 bootstrap of Shoal, written by envoyconf. Change envoy/envoyconf and render it again.\n"


def render(topology: Topology) -> str:
    """The bootstrap as readable YAML; the same topology always gives the same text."""
    return HEADER + as_yaml(bootstrap(topology))


def bootstrap(topology: Topology) -> EnvoyObject:
    """Everything that Envoy needs to know at its start."""
    return {
        "node": {"id": "shoal", "cluster": "shoal"},
        "admin": {"address": socket_address(LOOPBACK, topology.envoy.admin)},
        "layered_runtime": layered_runtime(topology),
        "overload_manager": overload_manager(topology.max_heap_bytes),
        "static_resources": {"listeners": listeners(topology), "clusters": clusters(topology)},
    }

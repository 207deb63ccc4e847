"""Values that Envoy takes over while it runs: the circuit breakers, which follow the size of the pools."""

from collections.abc import Mapping

from envoyconf.extension import EnvoyObject
from envoyconf.files import resources, watched
from envoyconf.topology import Pool, Topology

RUNTIME_LAYER = "pools"


def runtime_file(files: str) -> str:
    """Where the values are. Envoy takes notice only when a file is renamed to this."""
    return f"{files}/runtime/runtime.yaml"


def render_runtime(topology: Topology, replicas: Mapping[str, int]) -> str:
    """The content of that file. `replicas` has the processes of each pool by its name, draining ones too: their calls
    count as well. A pool that is missing keeps what the bootstrap says.
    """
    layer = {
        f"circuit_breakers.{pool.name}.default.{limit}": value
        for pool in topology.pools()
        if pool.name in replicas
        for limit, value in breaker_limits(pool, replicas[pool.name]).items()
    }
    return resources(("service.runtime.v3.Runtime", {"name": RUNTIME_LAYER, "layer": layer}))


def breaker_limits(pool: Pool, replicas: int) -> dict[str, int]:
    """What so many processes of the pool can have in hand at once. More is refused by Envoy, without asking them."""
    calls = pool.calls_per_replica * max(replicas, 1)
    # Each call under way has a connection, and those that are idle in one of Envoy's threads are of no use to another.
    return {"max_requests": calls, "max_connections": 4 * calls, "max_pending_requests": calls}


def layered_runtime(topology: Topology) -> EnvoyObject:
    """Switches that differ from Envoy's defaults, and above them what follows the pools."""
    pools = {"name": RUNTIME_LAYER, "rtds_config": watched(runtime_file(topology.files))}
    return {
        "layers": [{"name": "static", "static_layer": switches()}, {"name": RUNTIME_LAYER, "rtds_layer": pools}],
    }


def switches() -> EnvoyObject:
    """Fixed switches."""
    return {
        # Else a timeout reaches gRPC clients as UNAVAILABLE, which they would retry.
        "envoy.reloadable_features.grpc_timeout_returns_deadline_exceeded": True,
    }

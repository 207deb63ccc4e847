"""Where the processes of a pool are found: files that Envoy watches, one folder for each pool."""

from collections.abc import Iterable
from dataclasses import dataclass

from envoyconf.extension import EnvoyObject
from envoyconf.files import resources, watched
from envoyconf.topology import LOOPBACK, Pool, Topology


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A process of a pool, as Envoy shall see it."""

    port: int
    weight: int = 1
    """Its share of the calls, where the strategy knows weights; 1 or more."""
    draining: bool = False
    """Whether it gets no new calls, while those that it has go on."""


def endpoints_file(files: str, cluster: str) -> str:
    """Where the endpoints of `cluster` are. Envoy takes notice only when a file is renamed to this."""
    return f"{files}/endpoints/{cluster}/endpoints.yaml"


def endpoint_source(files: str, cluster: str) -> EnvoyObject:
    """The watched file of `cluster`, as the schema wants it."""
    return watched(endpoints_file(files, cluster))


def first_endpoints(topology: Topology, pool: Pool) -> list[Endpoint]:
    """The processes that a mesh starts with."""
    return [
        Endpoint(port=pool.envoy_port_of(number), weight=topology.weight_of(pool, number))
        for number in range(1, pool.replicas + 1)
    ]


def render_endpoints(cluster: str, endpoints: Iterable[Endpoint]) -> str:
    """The content of a pool's file. No endpoints at all is a deliberate "nobody is there"."""
    found = [lb_endpoint(endpoint) for endpoint in endpoints]
    # The name, which must be there, comes last: so Envoy takes no part of the text for the whole.
    assignment = {"endpoints": [{"lb_endpoints": found}], "cluster_name": cluster}
    return resources(("config.endpoint.v3.ClusterLoadAssignment", assignment))


def lb_endpoint(endpoint: Endpoint) -> EnvoyObject:
    """An endpoint as the schema wants it. Whether one is healthy, Envoy finds out by itself."""
    found = {
        "endpoint": {"address": socket_address(LOOPBACK, endpoint.port)},
        "load_balancing_weight": endpoint.weight,
    }
    return found | ({"health_status": "DRAINING"} if endpoint.draining else {})


def load_assignment(cluster: str, addresses: Iterable[tuple[str, int]]) -> EnvoyObject:
    """Endpoints of `cluster` that never change, given as host and port."""
    endpoints = [{"endpoint": {"address": socket_address(host, port)}} for host, port in addresses]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]}


def socket_address(host: str, port: int) -> EnvoyObject:
    """A TCP address."""
    return {"socket_address": {"address": host, "port_value": port}}

"""Where the processes of a pool are found."""

from collections.abc import Iterable

from envoyconf.extension import EnvoyObject


def load_assignment(cluster: str, addresses: Iterable[tuple[str, int]]) -> EnvoyObject:
    """The endpoints of `cluster`, given as host and port."""
    endpoints = [{"endpoint": {"address": socket_address(host, port)}} for host, port in addresses]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]}


def socket_address(host: str, port: int) -> EnvoyObject:
    """A TCP address."""
    return {"socket_address": {"address": host, "port_value": port}}

"""Envoy's clusters: how it balances over a pool, watches its health and protects it."""

from envoyconf.endpoints import load_assignment
from envoyconf.extension import EnvoyObject, typed
from envoyconf.topology import LOOPBACK, Pool, Protocol, Topology, otlp_address

OTLP_CLUSTER = "otlp"
HTTP_OPTIONS = "extensions.upstreams.http.v3.HttpProtocolOptions"


def clusters(topology: Topology) -> list[EnvoyObject]:
    """One cluster for each pool, and one for the trace collector if there is one."""
    of_pools = [pool_cluster(pool) for pool in topology.pools()]
    if topology.otlp_endpoint is None:
        return of_pools
    return [*of_pools, otlp_cluster(topology.otlp_endpoint)]


def pool_cluster(pool: Pool) -> EnvoyObject:
    """A pool of our own."""
    return {
        "name": pool.name,
        "type": "STATIC",
        "connect_timeout": "1s",
        **balancing(pool),
        # With few replicas, Envoy's panic mode would send calls to those that are known to be down.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [health_check(pool)],
        "outlier_detection": outlier_detection(),
        "circuit_breakers": circuit_breakers(pool.retries_at_once),
        "typed_extension_protocol_options": upstream_protocol(pool.protocol),
        "load_assignment": load_assignment(pool.name, [(LOOPBACK, port) for port in pool.ports]),
    }


def balancing(pool: Pool) -> EnvoyObject:
    """The less busy of two random replicas that are healthy gets the call, or the one that the hash says."""
    if pool.hash_header:
        return {"lb_policy": "RING_HASH"}
    return {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 2}}


def health_check(pool: Pool) -> EnvoyObject:
    """Asks each replica twice a second; two misses take it out, one answer brings it back."""
    asked = {
        Protocol.GRPC: {"grpc_health_check": {"service_name": pool.health}},
        Protocol.HTTP1: {"http_health_check": {"path": pool.health}},
    }
    return {
        "interval": "0.5s",
        "no_traffic_interval": "0.5s",
        "timeout": "0.5s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "reuse_connection": True,
        **asked[pool.protocol],
    }


def outlier_detection() -> EnvoyObject:
    """Takes out a replica that answers health checks and loses connections: for seconds, never more than half of them.

    Statuses do not count: a stranger can provoke DEADLINE_EXCEEDED as often as he likes.
    """
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 3,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_consecutive_5xx": 0,
        "interval": "1s",
        "base_ejection_time": "3s",
        "max_ejection_time": "60s",
        "max_ejection_percent": 50,
        # Else the next health check, half a second later, would undo the ejection.
        "successful_active_health_check_uneject_host": False,
    }


def circuit_breakers(retries_at_once: int) -> EnvoyObject:
    """Wide limits, since queues and refusals are the services' own. A fifth of the traffic may be retries."""
    return {
        "thresholds": [
            {
                "max_connections": 10000,
                "max_pending_requests": 10000,
                "max_requests": 10000,
                "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": retries_at_once},
                "track_remaining": True,
            }
        ]
    }


def upstream_protocol(protocol: Protocol) -> EnvoyObject:
    """How connections to a pool are kept. They idle for less time than the servers' keep-alive, so Envoy ends them."""
    # No HTTP/2 keep-alive pings: a gRPC server that gets them too often closes the connection.
    spoken = {
        Protocol.GRPC: {"http2_protocol_options": {"max_concurrent_streams": 10000}},
        Protocol.HTTP1: {"http_protocol_options": {}},
    }
    options = typed(
        HTTP_OPTIONS,
        common_http_protocol_options={"idle_timeout": "30s"},
        explicit_http_config=spoken[protocol],
    )
    return {f"envoy.{HTTP_OPTIONS}": options}


def otlp_cluster(endpoint: str) -> EnvoyObject:
    """The collector of traces, which may have a name in DNS."""
    return {
        "name": OTLP_CLUSTER,
        "type": "STRICT_DNS",
        "dns_lookup_family": "ALL",
        "connect_timeout": "1s",
        "load_assignment": load_assignment(OTLP_CLUSTER, [otlp_address(endpoint)]),
    }

"""Envoy's clusters: how it balances over a pool, watches its health and protects it."""

from envoyconf.admission import admission_control, upstream_codec
from envoyconf.endpoints import endpoint_source, load_assignment
from envoyconf.extension import EnvoyObject, typed
from envoyconf.load_balancing import LEAST_REQUEST, RING_HASH, Strategy
from envoyconf.runtime import breaker_limits
from envoyconf.tls import upstream_socket
from envoyconf.topology import Pool, Protocol, Topology, otlp_address

OTLP_CLUSTER = "otlp"
OPEN_CLUSTER = "agent-open"
OPEN_CALLS = 64
"""What strangers may ask of all agents at once without a token: their health, and what they offer."""
MOST_LOAD_PERCENT = 200
"""What an agent may have of the mean load before calls that hash to it go to the next one."""
MOST_UNREAD_BYTES = 64 << 10
"""What Envoy holds of an answer that its caller has not read yet."""
KERNEL_BYTES = 256 << 10
"""What the kernel takes of it before that. By itself it gives a connection that was fast up to tens of megabytes."""
HEALTH_PATH = "/health"
HTTP_OPTIONS = "extensions.upstreams.http.v3.HttpProtocolOptions"


def clusters(topology: Topology) -> list[EnvoyObject]:
    """One cluster for each pool, another one of the agents, and one for the trace collector if there is one."""
    of_pools = [*(pool_cluster(topology, pool) for pool in topology.pools()), open_cluster(topology)]
    if topology.otlp_endpoint is None:
        return of_pools
    return [*of_pools, otlp_cluster(topology.otlp_endpoint)]


def pool_cluster(topology: Topology, pool: Pool) -> EnvoyObject:
    """A pool of our own."""
    return {
        "name": pool.name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": endpoint_source(topology.files, pool.name)},
        # Who is in the file no more is gone, whatever its health check says.
        "ignore_health_on_host_removal": True,
        "connect_timeout": "1s",
        # A client that reads slowly slows down its own model.
        "per_connection_buffer_limit_bytes": MOST_UNREAD_BYTES,
        "upstream_bind_config": {"socket_options": [receive_buffer(KERNEL_BYTES)]},
        **balancing(topology, pool),
        "health_checks": [health_check()],
        "outlier_detection": outlier_detection(),
        "circuit_breakers": circuit_breakers(pool),
        "typed_extension_protocol_options": upstream_protocol(pool, filters=pool_filters(topology, pool)),
        **transport(topology, pool),
    }


def open_cluster(topology: Topology) -> EnvoyObject:
    """The agents once more, for calls of strangers that spend no tokens. What these hold takes no place from turns, and
    how they end says nothing about the agents.
    """
    agents = topology.agent
    few = dict.fromkeys(breaker_limits(agents, agents.replicas), OPEN_CALLS)
    cluster = pool_cluster(topology, agents) | {
        "name": OPEN_CLUSTER,
        "eds_cluster_config": {
            "service_name": agents.name,
            "eds_config": endpoint_source(topology.files, agents.name),
        },
        "circuit_breakers": {"thresholds": [few]},
        "typed_extension_protocol_options": upstream_protocol(agents, filters=[]),
    }
    del cluster["outlier_detection"]
    return cluster


def receive_buffer(size: int) -> EnvoyObject:
    """SO_RCVBUF of SOL_SOCKET, by their numbers on Linux; set before connecting, when a window's scale is agreed on."""
    return {"description": "bounded", "level": 1, "name": 8, "int_value": size, "state": "STATE_PREBIND"}


def balancing(topology: Topology, pool: Pool) -> EnvoyObject:
    """Who gets a call: for agents what the operator chose, else whom the hash says or the less busy of two.

    In Envoy's panic mode, calls would go to replicas that are known to be down; with few of them it is off. And news
    of health or draining would reach its threads up to a second after the main thread and so after `shoal ps`.
    """
    common: EnvoyObject = {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"}
    chosen = LEAST_REQUEST
    if pool == topology.agent:
        chosen = topology.load_balancing
        if chosen.key is not None:
            common["consistent_hashing_lb_config"] = {"hash_balance_factor": MOST_LOAD_PERCENT}
    elif pool.hash_header:
        chosen = RING_HASH
    return {**policy(chosen.strategy), "common_lb_config": common}


def policy(strategy: Strategy) -> EnvoyObject:
    """A strategy as Envoy calls it. Weights are of the endpoints."""
    match strategy:
        case Strategy.LEAST_REQUEST:
            return {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 2}}
        case Strategy.ROUND_ROBIN | Strategy.WEIGHTS:
            return {"lb_policy": "ROUND_ROBIN"}
        case Strategy.RING_HASH:
            return {"lb_policy": "RING_HASH"}
        case Strategy.MAGLEV:
            return {"lb_policy": "MAGLEV"}


def health_check() -> EnvoyObject:
    """Asks each replica twice a second; two misses take it out, one answer brings it back."""
    return {
        "interval": "0.5s",
        "no_traffic_interval": "0.5s",
        "timeout": "0.5s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "reuse_connection": True,
        "http_health_check": {"path": HEALTH_PATH},
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


def circuit_breakers(pool: Pool) -> EnvoyObject:
    """Bounds on what is under way. A fifth of the traffic may be retries."""
    return {
        "thresholds": [
            {
                **breaker_limits(pool, pool.replicas),
                "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": pool.retries_at_once},
                "track_remaining": True,
            }
        ]
    }


def pool_filters(topology: Topology, pool: Pool) -> list[EnvoyObject]:
    """What calls pass on their way to a replica, if anything."""
    return [admission_control(pool.name), upstream_codec()] if pool == topology.agent else []


def upstream_protocol(pool: Pool, *, filters: list[EnvoyObject]) -> EnvoyObject:
    """How connections to a pool are kept. They idle for less time than the servers' keep-alive, so Envoy ends them."""
    options = typed(
        HTTP_OPTIONS,
        common_http_protocol_options={"idle_timeout": "30s"},
        # gRPC says in a trailer how a call ended.
        explicit_http_config={"http_protocol_options": {"enable_trailers": pool.protocol is Protocol.GRPC}},
        **({"http_filters": filters} if filters else {}),
    )
    return {f"envoy.{HTTP_OPTIONS}": options}


def transport(topology: Topology, pool: Pool) -> EnvoyObject:
    """TLS to the pool if the mesh has it."""
    return {"transport_socket": upstream_socket(topology.files)} if topology.mesh_tls else {}


def otlp_cluster(endpoint: str) -> EnvoyObject:
    """The collector of traces, which may have a name in DNS."""
    return {
        "name": OTLP_CLUSTER,
        "type": "STRICT_DNS",
        "dns_lookup_family": "ALL",
        "connect_timeout": "1s",
        "load_assignment": load_assignment(OTLP_CLUSTER, [otlp_address(endpoint)]),
    }

"""Which request goes where, how long it may take, and when it is tried again."""

from envoyconf.extension import EnvoyObject, extension, typed
from envoyconf.filters import limiter_disabled, masked_address, open_limiter
from envoyconf.route_names import AGENT_API, OTHER, PATHS, RPCS
from envoyconf.topology import FailOpen, Topology

HEALTH_API = "/grpc.health.v1."
REFLECTION_API = "/grpc.reflection."
OPENAI_API = "/v1/"
PUT_PREFERENCES = "/shoal.agent.v1.AgentService/PutPreferences"
# For calls that do no harm when they are made twice.
UNAVAILABLE = "connect-failure,refused-stream,unavailable,reset-before-request"
# For writes that must not be made twice: UNAVAILABLE may come from a commit that was done all the same.
NOT_CONNECTED = "connect-failure,refused-stream"


def front_routes(topology: Topology) -> EnvoyObject:
    """gRPC to the agents, the rest to the gateways. Credentials end here: upstream sees the limiter's word only."""
    return {
        "name": "front",
        "virtual_hosts": [
            {
                "name": "front",
                "domains": ["*"],
                # Removed by the router, so after the limiter has read them.
                "request_headers_to_remove": ["x-api-key", "authorization"],
                "routes": [*_grpc_routes(topology), *_rest_routes(topology)],
            }
        ],
    }


def inner_routes(topology: Topology) -> EnvoyObject:
    """The calls of our services to each other, retried here and nowhere else."""
    agent, ratelimit = topology.agent.name, topology.ratelimit.name
    cache = route({"prefix": "/shoal.cache.v1.", "grpc": {}}, topology.cache.name, retry_on=UNAVAILABLE)
    routes = [
        route({"path": PUT_PREFERENCES, "grpc": {}}, agent, retry_on=NOT_CONNECTED),
        route({"prefix": AGENT_API, "grpc": {}}, agent, retry_on=UNAVAILABLE),
        hashed(cache, topology.cache.hash_header),
        route({"prefix": "/shoal.ratelimit.v1.", "grpc": {}}, ratelimit, retry_on=NOT_CONNECTED),
        route({"prefix": HEALTH_API, "grpc": {}}, agent, retry_on=UNAVAILABLE),
    ]
    return {"name": "inner", "virtual_hosts": [{"name": "inner", "domains": ["*"], "routes": routes}]}


def redirect_routes(tls_port: int) -> EnvoyObject:
    """The plain port beside TLS: REST is sent to https, gRPC (which follows no redirects) is refused."""
    refusal = refused_grpc(403, f"Use TLS, on port {tls_port}.")
    to_https = {"https_redirect": True, "port_redirect": tls_port, "response_code": "PERMANENT_REDIRECT"}
    redirect = {"match": {"prefix": "/"}, "redirect": to_https}
    return {
        "name": "redirect",
        "virtual_hosts": [{"name": "redirect", "domains": ["*"], "routes": [refusal, redirect]}],
    }


def _grpc_routes(topology: Topology) -> list[EnvoyObject]:
    agent, fail_open = topology.agent.name, topology.fail_open
    agent_api = [
        limited(route({"prefix": prefix, "grpc": {}}, agent, retry_on=retried_on(prefix)), "grpc", name, fail_open)
        for prefix, name in RPCS.items()
    ]
    return [
        *agent_api,
        route({"prefix": HEALTH_API, "grpc": {}}, agent, retry_on=UNAVAILABLE) | unlimited(),
        route({"prefix": REFLECTION_API, "grpc": {}}, agent, retry_on=UNAVAILABLE) | unlimited(),
        refused_grpc(404, "There is no such service at the front door.") | unlimited(),
    ]


def retried_on(rpc: str) -> str:
    """The failures after which a call from outside is made again."""
    return NOT_CONNECTED if rpc == PUT_PREFERENCES else UNAVAILABLE


def _rest_routes(topology: Topology) -> list[EnvoyObject]:
    gateway, fail_open = topology.gateway.name, topology.fail_open
    free: list[EnvoyObject] = [{"path_separated_prefix": "/health"}, {"path": "/docs"}, {"path": "/openapi.json"}]
    named: list[tuple[EnvoyObject, str, str]] = [
        *[({"path_separated_prefix": path}, surface_of(path), name) for path, name in PATHS.items()],
        *[({"prefix": prefix}, surface_of(prefix), OTHER) for prefix in (OPENAI_API, "/")],
    ]
    return [
        *[route(match, gateway, retry_on=NOT_CONNECTED) | unlimited() for match in free],
        *[
            limited(route(match, gateway, retry_on=NOT_CONNECTED), surface, name, fail_open)
            for match, surface, name in named
        ],
    ]


def surface_of(path: str) -> str:
    """Which API a REST path belongs to, and so which shape its errors have."""
    return "openai" if path.startswith(OPENAI_API) else "rest"


def route(match: EnvoyObject, cluster: str, *, retry_on: str) -> EnvoyObject:
    """A route for answers that may be long streams: bounded by silence and in sum, not by Envoy's default 15 s.

    A caller's own deadline (grpc-timeout) is kept by our servers. Envoy would reset a stream that has begun, at the
    moment when the caller gives up by itself, and make an INTERNAL of the DEADLINE_EXCEEDED.
    """
    action: EnvoyObject = {
        "cluster": cluster,
        "timeout": "0s",
        "idle_timeout": "120s",
        "max_stream_duration": {"max_stream_duration": "900s"},
        "retry_policy": retry_policy(retry_on),
    }
    return {"match": match, "route": action}


def hashed(served: EnvoyObject, header: str | None) -> EnvoyObject:
    """The route to a pool whose calls are balanced by the hash of a header, if it is one."""
    if header is None:
        return served
    return served | {"route": served["route"] | {"hash_policy": [{"header": {"header_name": header}}]}}


def limited(served: EnvoyObject, surface: str, name: str, fail_open: FailOpen | None) -> EnvoyObject:
    """The route, with the limiter asked about it under its name."""
    asking = served | {"route": served["route"] | {"rate_limits": [descriptor(surface, name)]}}
    if fail_open is None or name not in fail_open.routes:
        return asking
    return asking | {
        "typed_per_filter_config": open_limiter(),
        # The router adds it, after the limiter: where that has answered, there is an identity.
        "request_headers_to_add": [
            {"header": {"key": "x-shoal-identity", "value": fail_open.identity}, "append_action": "ADD_IF_ABSENT"}
        ],
    }


def refused_grpc(status: int, message: str) -> EnvoyObject:
    """Any gRPC call is answered here, with the gRPC status that belongs to an HTTP one (403: PERMISSION_DENIED)."""
    answer = {"status": status, "body": {"inline_string": message}}
    return {"match": {"prefix": "/", "grpc": {}}, "direct_response": answer}


def unlimited() -> EnvoyObject:
    """The part of a route that spends no tokens."""
    return {"typed_per_filter_config": limiter_disabled()}


def retry_policy(retry_on: str) -> EnvoyObject:
    """Twice more, elsewhere if there is an elsewhere. The cluster's retry budget bounds the sum."""
    elsewhere = extension(
        "envoy.retry_host_predicates.previous_hosts",
        "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    )
    return {
        "retry_on": retry_on,
        "num_retries": 2,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.5s"},
        "retry_host_predicate": [elsewhere],
        # Each attempt may pick the refusing one again: with two replicas, four would still do so once in 16.
        "host_selection_retry_max_attempts": 10,
    }


def descriptor(surface: str, name: str) -> EnvoyObject:
    """What the limiter is told about a request; entries that it has no value for are left out."""
    return {
        "actions": [
            masked_address(),
            {"generic_key": {"descriptor_key": "surface", "descriptor_value": surface}},
            {"generic_key": {"descriptor_key": "route", "descriptor_value": name}},
            {"request_headers": {"descriptor_key": "request_id", "header_name": "x-request-id"}},
            all_values("x_api_key", "x-api-key"),
            all_values("authorization", "authorization"),
        ]
    }


def all_values(key: str, header: str) -> EnvoyObject:
    """Every value of a header, joined by commas. The plain `request_headers` action would show the first one only."""
    expression = typed(
        "extensions.rate_limit_descriptors.expr.v3.Descriptor",
        descriptor_key=key,
        text=f"request.headers['{header}']",
        skip_if_error=True,
    )
    return {"extension": {"name": "envoy.rate_limit_descriptors.expr", "typed_config": expression}}

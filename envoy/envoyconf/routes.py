"""Which request goes where, how long it may take, and when it is tried again."""

from envoyconf.extension import EnvoyObject, extension, typed
from envoyconf.filters import limiter_disabled, masked_address
from envoyconf.topology import Topology

AGENT_API = "/shoal.agent.v1."
HEALTH_API = "/grpc.health.v1."
REFLECTION_API = "/grpc.reflection."
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
    agent, cache, ratelimit = topology.agent.name, topology.cache.name, topology.ratelimit.name
    routes = [
        route({"path": PUT_PREFERENCES, "grpc": {}}, agent, retry_on=NOT_CONNECTED),
        route({"prefix": AGENT_API, "grpc": {}}, agent, retry_on=UNAVAILABLE),
        route({"prefix": "/shoal.cache.v1.", "grpc": {}}, cache, retry_on=UNAVAILABLE),
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
    agent = topology.agent.name
    return [
        route({"path": PUT_PREFERENCES, "grpc": {}}, agent, retry_on=NOT_CONNECTED, surface="grpc"),
        route({"prefix": AGENT_API, "grpc": {}}, agent, retry_on=UNAVAILABLE, surface="grpc"),
        route({"prefix": HEALTH_API, "grpc": {}}, agent, retry_on=UNAVAILABLE) | unlimited(),
        route({"prefix": REFLECTION_API, "grpc": {}}, agent, retry_on=UNAVAILABLE) | unlimited(),
        refused_grpc(404, "There is no such service at the front door.") | unlimited(),
    ]


def _rest_routes(topology: Topology) -> list[EnvoyObject]:
    gateway = topology.gateway.name
    free: list[EnvoyObject] = [{"path_separated_prefix": "/health"}, {"path": "/docs"}, {"path": "/openapi.json"}]
    return [
        *[route(match, gateway, retry_on=NOT_CONNECTED) | unlimited() for match in free],
        route({"prefix": "/v1/"}, gateway, retry_on=NOT_CONNECTED, surface="openai"),
        route({"prefix": "/"}, gateway, retry_on=NOT_CONNECTED, surface="rest"),
    ]


def route(match: EnvoyObject, cluster: str, *, retry_on: str, surface: str | None = None) -> EnvoyObject:
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
    if surface is not None:
        action["rate_limits"] = [descriptor(surface)]
    return {"match": match, "route": action}


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
        "host_selection_retry_max_attempts": 3,
    }


def descriptor(surface: str) -> EnvoyObject:
    """What the limiter is told about a request; entries that it has no value for are left out."""
    return {
        "actions": [
            masked_address(),
            {"generic_key": {"descriptor_key": "surface", "descriptor_value": surface}},
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

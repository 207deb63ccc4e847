"""Which request goes where, how long it may take, and when it is tried again."""

from envoyconf.clusters import OPEN_CLUSTER
from envoyconf.extension import EnvoyObject, extension, typed
from envoyconf.filters import limiter_disabled, masked_address, open_limiter
from envoyconf.load_balancing import HashKey, LoadBalancing
from envoyconf.route_names import AGENT_API, OTHER, PATHS, RPCS
from envoyconf.topology import FailOpen, Topology

HEALTH_API = "/grpc.health.v1."
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
REFLECTION_API = "/grpc.reflection."
OPENAI_API = "/v1/"
EXECUTE = f"{AGENT_API}AgentService/Execute"
WRITES = (f"{AGENT_API}AgentService/PutPreferences", f"{AGENT_API}AgentService/DeleteSession")
"""Made twice, they would tell their caller something else than made once."""
IN_ONE_PIECE = (EXECUTE, "/api/v1/task", "/v1/chat/completions")
"""Where an answer may come in one piece, with no heartbeats while it is made. It is not known before who wants a stream
of REST."""
SESSION_HEADER = "x-session-id"
ADDRESS_HEADER = "x-shoal-client-address"
OPEN_SECONDS = 10
"""How long a call may take that spends no tokens: nobody holds a place for free. That leaves out Health/Watch."""
HEADERS_SECONDS = 60
"""How long an agent may take to begin an answer: to wait for a slot and to look what it knows. A request that never
becomes whole gets none."""
BACKSTOP_SECONDS = 10
"""So much later than our services Envoy ends a call that takes too long."""
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
                # What is kept of a request in case it is made again: more than a connection may hold back.
                "request_body_buffer_limit": 1 << 20,
                # Removed by the router, so after the limiter has read them.
                "request_headers_to_remove": ["x-api-key", "authorization"],
                "routes": [*_grpc_routes(topology), *_rest_routes(topology)],
            }
        ],
    }


def inner_routes(topology: Topology) -> EnvoyObject:
    """The calls of our services to each other, retried here and nowhere else."""
    agent, cache, ratelimit = topology.agent.name, topology.cache.name, topology.ratelimit.name
    by_agent = inner_hash(topology.load_balancing)
    by_answer = [header_hash(topology.cache.hash_header)] if topology.cache.hash_header else []
    routes = [
        *[
            hashed(route(topology, {"path": rpc, "grpc": {}}, agent, retry_on=NOT_CONNECTED), by_agent)
            for rpc in WRITES
        ],
        hashed(route(topology, {"path": EXECUTE, "grpc": {}}, agent, retry_on=UNAVAILABLE), by_agent),
        hashed(
            beginning_soon(route(topology, {"prefix": AGENT_API, "grpc": {}}, agent, retry_on=UNAVAILABLE)), by_agent
        ),
        hashed(route(topology, {"prefix": "/shoal.cache.v1.", "grpc": {}}, cache, retry_on=UNAVAILABLE), by_answer),
        route(topology, {"prefix": "/shoal.ratelimit.v1.", "grpc": {}}, ratelimit, retry_on=NOT_CONNECTED),
        route(topology, {"prefix": HEALTH_API, "grpc": {}}, agent, retry_on=UNAVAILABLE),
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
    return [
        *[_agent_route(topology, prefix, name) for prefix, name in RPCS.items()],
        # Who asks for the health of the agents asks the one that his calls go to.
        hashed(_open_route(topology, {"path": HEALTH_CHECK}), front_hash(topology.load_balancing)),
        _open_route(topology, {"prefix": REFLECTION_API}),
        refused_grpc(404, "There is no such service at the front door.") | unlimited(),
    ]


def _agent_route(topology: Topology, prefix: str, name: str) -> EnvoyObject:
    served = route(topology, posted({"prefix": prefix}), topology.agent.name, retry_on=retried_on(prefix))
    return limited(
        hashed(beginning_soon(served), front_hash(topology.load_balancing)), "grpc", name, topology.fail_open
    )


def _open_route(topology: Topology, match: EnvoyObject) -> EnvoyObject:
    served = route(topology, posted(match), OPEN_CLUSTER, retry_on=UNAVAILABLE)
    bounded = served["route"] | {"max_stream_duration": {"max_stream_duration": f"{OPEN_SECONDS}s"}}
    return served | {"route": bounded} | unlimited()


def posted(match: EnvoyObject) -> EnvoyObject:
    """gRPC as it is called, with a path of nothing but a method's name. A server cuts off what it cannot read as HTTP,
    such as a query that is not ASCII, which would count against it."""
    headers = [
        {"name": ":method", "string_match": {"exact": "POST"}},
        {"name": ":path", "string_match": {"safe_regex": {"regex": "[A-Za-z0-9_./]+"}}},
    ]
    return match | {"grpc": {}, "headers": headers}


def beginning_soon(served: EnvoyObject) -> EnvoyObject:
    """The route to agents, which say at once that they have begun; the answer itself may take longer."""
    policy = served["route"]["retry_policy"] | {"per_try_timeout": f"{HEADERS_SECONDS}s"}
    return served | {"route": served["route"] | {"retry_policy": policy}}


def retried_on(rpc: str) -> str:
    """The failures after which a call from outside is made again."""
    return NOT_CONNECTED if rpc in WRITES else UNAVAILABLE


def _rest_routes(topology: Topology) -> list[EnvoyObject]:
    free: list[EnvoyObject] = [{"path_separated_prefix": "/health"}, {"path": "/docs"}, {"path": "/openapi.json"}]
    named: list[tuple[EnvoyObject, str, str]] = [
        *[({"path_separated_prefix": path}, surface_of(path), name) for path, name in PATHS.items()],
        *[({"prefix": prefix}, surface_of(prefix), OTHER) for prefix in (OPENAI_API, "/")],
    ]
    return [
        *[_gateway_route(topology, match) | unlimited() for match in free],
        *[
            limited(_gateway_route(topology, match), surface, name, topology.fail_open)
            for match, surface, name in named
        ],
    ]


def _gateway_route(topology: Topology, match: EnvoyObject) -> EnvoyObject:
    """The call from the gateway to the agent is made again inside; at the door only what reached no gateway."""
    return route(topology, match, topology.gateway.name, retry_on=NOT_CONNECTED)


def surface_of(path: str) -> str:
    """Which API a REST path belongs to, and so which shape its errors have."""
    return "openai" if path.startswith(OPENAI_API) else "rest"


def route(topology: Topology, match: EnvoyObject, cluster: str, *, retry_on: str) -> EnvoyObject:
    """A route for answers that may be long streams: bounded by silence and in sum, not by Envoy's default 15 s.

    A caller's own deadline (grpc-timeout) is kept by our servers, to whom the listeners hand it on. Envoy would reset a
    stream that has begun, at the moment when the caller gives up by itself, and make an INTERNAL of the
    DEADLINE_EXCEEDED.
    """
    longest = f"{topology.stream_max_seconds + BACKSTOP_SECONDS:g}s"
    action: EnvoyObject = {
        "cluster": cluster,
        "timeout": "0s",
        "idle_timeout": longest if in_one_piece(match) else f"{topology.idle_seconds:g}s",
        "max_stream_duration": {"max_stream_duration": longest},
        "retry_policy": retry_policy(retry_on),
    }
    return {"match": match, "route": action}


def in_one_piece(match: EnvoyObject) -> bool:
    """Whether the route may be silent for as long as an answer may take."""
    return any(path in IN_ONE_PIECE for path in match.values() if isinstance(path, str))


def hashed(served: EnvoyObject, policies: list[EnvoyObject]) -> EnvoyObject:
    """The route, with what its calls are balanced by if a hash decides; the first that a call has."""
    if not policies:
        return served
    return served | {"route": served["route"] | {"hash_policy": policies}}


def front_hash(balancing: LoadBalancing) -> list[EnvoyObject]:
    """What calls from outside are balanced by."""
    match balancing.key:
        case HashKey.SESSION:
            return [header_hash(SESSION_HEADER), address_hash()]
        case HashKey.ADDRESS:
            return [address_hash()]
        case None:
            return []


def inner_hash(balancing: LoadBalancing) -> list[EnvoyObject]:
    """What a gateway's calls are balanced by: the same, but it has to say for which address it calls."""
    at_front = front_hash(balancing)
    return [*at_front[:-1], header_hash(ADDRESS_HEADER), *at_front[-1:]] if at_front else []


def header_hash(name: str) -> EnvoyObject:
    """The value of a header, if there is one."""
    return {"header": {"header_name": name}, "terminal": True}


def address_hash() -> EnvoyObject:
    """The client's address."""
    return {"connection_properties": {"source_ip": True}}


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

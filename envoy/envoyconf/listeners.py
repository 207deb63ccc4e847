"""Envoy's listeners: the front door (plain, TLS, redirect) and the inner one for our services."""

from envoyconf.access_log import access_log, failure_log
from envoyconf.clusters import OTLP_CLUSTER
from envoyconf.endpoints import socket_address
from envoyconf.extension import EnvoyObject, extension, typed
from envoyconf.filters import flood_guard, front_filters, router
from envoyconf.local_replies import inner_replies, local_replies
from envoyconf.routes import front_routes, inner_routes, redirect_routes
from envoyconf.tls import front_socket, inner_socket
from envoyconf.topology import LOOPBACK, Topology

TIMEOUT_HEADER = "x-shoal-timeout"
"""What our servers read beside `grpc-timeout`, in the same form."""


def listeners(topology: Topology) -> list[EnvoyObject]:
    """With TLS, the front door is on the TLS port, and the plain port only points there."""
    if topology.tls is None:
        return [front_listener(topology), inner_listener(topology)]
    return [redirect_listener(topology), tls_listener(topology), inner_listener(topology)]


def front_listener(topology: Topology) -> EnvoyObject:
    """The front door without TLS: HTTP/1.1, and HTTP/2 with prior knowledge."""
    return public_listener(topology, "front", topology.envoy.front, front_chain(topology))


def tls_listener(topology: Topology) -> EnvoyObject:
    """The front door with TLS."""
    secured = {
        "transport_socket": front_socket(topology.files),
        # So long a handshake may take.
        "transport_socket_connect_timeout": _seconds(headers_seconds(topology)),
    }
    return public_listener(topology, "tls", topology.envoy.tls, front_chain(topology) | secured)


def redirect_listener(topology: Topology) -> EnvoyObject:
    """The plain port when there is TLS."""
    routes = redirect_routes(topology.envoy.tls)
    manager = public_connection_manager(topology, "redirect", routes, [flood_guard(topology.flood_guard), router()])
    return public_listener(topology, "redirect", topology.envoy.front, {"filters": [manager]})


def front_chain(topology: Topology) -> EnvoyObject:
    """What both front doors do with a connection."""
    manager = public_connection_manager(topology, "front", front_routes(topology), front_filters(topology))
    return {"filters": [manager]}


def public_listener(topology: Topology, name: str, port: int, filter_chain: EnvoyObject) -> EnvoyObject:
    """A port that the world reaches. `/drain_listeners?inboundonly` ends these and leaves the inner listener."""
    return {
        "name": name,
        "traffic_direction": "INBOUND",
        "address": socket_address(LOOPBACK, port),
        # gRPC clients hold few connections for long: spread them over the worker threads evenly.
        "connection_balance_config": {"exact_balance": {}},
        # Who does not read what waits for him slows down his own streams first, and then loses his connection.
        "per_connection_buffer_limit_bytes": 64 << 10,
        "per_connection_buffer_high_watermark_timeout": _seconds(topology.slow_client_seconds),
        "filter_chains": [filter_chain],
    }


def inner_listener(topology: Topology) -> EnvoyObject:
    """Where our services reach each other. Signed identities pass here, and draining leaves it alone."""
    manager = connection_manager(
        topology,
        "inner",
        inner_routes(topology),
        [router()],
        codec_type="AUTO",
        early_header_mutation_extensions=[callers_deadline()],
        # A call whose server was lost ends with its connection: Envoy would wait a second before it closes that.
        delayed_close_timeout="0.1s",
        # Our services speak HTTP/1.1, the command line HTTP/2.
        http_protocol_options={"enable_trailers": True},
        # A caller waits in silence when its connection is out of streams: allow more than there can be calls.
        # And one that reads more slowly than agents write is no attacker: past the frames that wait for one connection
        # Envoy closes it, with every stream on it.
        http2_protocol_options={"max_concurrent_streams": 10000, "max_outbound_frames": 1000000},
        stream_idle_timeout=_seconds(topology.idle_seconds),
        preserve_external_request_id=True,
        local_reply_config=inner_replies(),
        access_log=[failure_log("inner")],
    )
    return {
        "name": "inner",
        "traffic_direction": "OUTBOUND",
        "drain_type": "MODIFY_ONLY",
        # Each call has a connection here. Strangers who take all that there are for clients must not end what runs.
        "ignore_global_conn_limit": True,
        "address": socket_address(LOOPBACK, topology.envoy.inner),
        "filter_chains": [{"filters": [manager], **inner_tls(topology)}],
    }


def inner_tls(topology: Topology) -> EnvoyObject:
    """TLS on the inner listener if the mesh has it."""
    return {"transport_socket": inner_socket(topology.files)} if topology.mesh_tls else {}


def public_connection_manager(
    topology: Topology, name: str, routes: EnvoyObject, filters: list[EnvoyObject]
) -> EnvoyObject:
    """HTTP from outside: nothing that a client sends is trusted, and nothing it holds open is unbounded."""
    return connection_manager(
        topology,
        name,
        routes,
        filters,
        codec_type="AUTO",
        early_header_mutation_extensions=[without_our_headers(), callers_deadline()],
        **client_address(topology.trusted_hops),
        **path_hygiene(),
        max_request_headers_kb=32,
        common_http_protocol_options=public_http(),
        http2_protocol_options=public_http2(),
        request_headers_timeout=_seconds(headers_seconds(topology)),
        # Our calls from outside are one message each, so this ends no stream of answers.
        request_timeout=_seconds(2 * topology.slow_client_seconds),
        stream_idle_timeout="60s",
        # Of a stream that is answered, and whose client does not take the rest.
        stream_flush_timeout=_seconds(topology.slow_client_seconds),
        preserve_external_request_id=False,
        always_set_request_id_in_response=True,
        local_reply_config=local_replies(),
        access_log=[access_log(name)],
    )


def connection_manager(
    topology: Topology, name: str, routes: EnvoyObject, filters: list[EnvoyObject], **settings: object
) -> EnvoyObject:
    """HTTP on a connection: what is the same inside and outside."""
    if topology.otlp_endpoint is not None:
        settings["tracing"] = tracing(topology.otlp_endpoint)
    return extension(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        server_name="shoal",
        generate_request_id=True,
        request_id_extension=request_ids(),
        **settings,
        route_config=routes,
        http_filters=filters,
    )


def request_ids() -> EnvoyObject:
    """UUIDs that stay as they are. By default Envoy notes in them why it traced, and each hop would have its own."""
    return {"typed_config": typed("extensions.request_id.uuid.v3.UuidRequestIdConfig", pack_trace_reason=False)}


def without_our_headers() -> EnvoyObject:
    """Removes `x-shoal-*` before routing. Done in the virtual host, it would remove the limiter's identity as well."""
    return extension(
        "without_our_headers",
        "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[{"remove_on_match": {"key_matcher": {"prefix": "x-shoal-"}}}],
    )


def callers_deadline() -> EnvoyObject:
    """Keeps what a caller grants, if he says it: the router writes into `grpc-timeout` how long its route may take."""
    granted = {"key": TIMEOUT_HEADER, "value": "%REQ(GRPC-TIMEOUT)%"}
    return extension(
        "callers_deadline",
        "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[{"append": {"header": granted, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}],
    )


def client_address(trusted_hops: int) -> EnvoyObject:
    """Who the client is. Nobody counts as internal, so `x-envoy-*` headers are void, from loopback too."""
    nobody = {"address_prefix": "255.255.255.255", "prefix_len": 32}
    return {
        "use_remote_address": True,
        "xff_num_trusted_hops": trusted_hops,
        "internal_address_config": {"unix_sockets": False, "cidr_ranges": [nobody]},
    }


def path_hygiene() -> EnvoyObject:
    """One spelling for each path, so that routes cannot be slipped past."""
    return {
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
    }


def headers_seconds(topology: Topology) -> float:
    """How long a client may take for a TLS handshake, or to send the headers of a request."""
    return min(10.0, topology.slow_client_seconds)


def public_http() -> EnvoyObject:
    """Limits for strangers in every version of HTTP."""
    return {
        "max_headers_count": 100,
        # So that `X_API_KEY` is no second spelling of a header anywhere behind us.
        "headers_with_underscores_action": "DROP_HEADER",
        # A connection on which there is no request.
        "idle_timeout": "300s",
    }


def public_http2() -> EnvoyObject:
    """HTTP/2 limits for strangers, wide enough for one client with many streams that it cancels often."""
    return {
        "max_concurrent_streams": 1000,
        "initial_stream_window_size": 65536,
        "initial_connection_window_size": 1048576,
        "connection_keepalive": {"interval": "30s", "timeout": "10s", "interval_jitter": {"value": 15}},
        # By default a connection is closed after 1000 resets, which a limited gRPC client reaches in good faith.
        "stream_reset_burst": 5000,
        # Small deltas on many streams of one connection come to more than the default of 10,000.
        "max_outbound_frames": 100000,
        "stream_reset_rate": 500,
    }


def tracing(otlp_endpoint: str) -> EnvoyObject:
    """Spans of Envoy's own, part of the client's trace if it sent a `traceparent`."""
    uri = {"uri": f"{otlp_endpoint.rstrip('/')}/v1/traces", "cluster": OTLP_CLUSTER, "timeout": "1s"}
    provider = extension(
        "envoy.tracers.opentelemetry",
        "config.trace.v3.OpenTelemetryConfig",
        service_name="envoy",
        http_service={"http_uri": uri},
    )
    return {"provider": provider, "spawn_upstream_span": True}


def _seconds(duration: float) -> str:
    return f"{duration:g}s"

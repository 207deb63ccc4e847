"""Envoy's listeners: the front door (plain, TLS, redirect) and the inner one for our services."""

from envoyconf.access_log import access_log, failure_log
from envoyconf.clusters import OTLP_CLUSTER
from envoyconf.endpoints import socket_address
from envoyconf.extension import EnvoyObject, extension, typed
from envoyconf.filters import flood_guard, front_filters, router
from envoyconf.local_replies import local_replies
from envoyconf.routes import front_routes, inner_routes, redirect_routes
from envoyconf.topology import LOOPBACK, TlsFiles, Topology


def listeners(topology: Topology) -> list[EnvoyObject]:
    """With TLS, the front door is on the TLS port, and the plain port only points there."""
    if topology.tls is None:
        return [front_listener(topology), inner_listener(topology)]
    return [redirect_listener(topology), tls_listener(topology, topology.tls), inner_listener(topology)]


def front_listener(topology: Topology) -> EnvoyObject:
    """The front door without TLS: HTTP/1.1, and HTTP/2 with prior knowledge."""
    return public_listener("front", topology.envoy.front, front_chain(topology))


def tls_listener(topology: Topology, tls: TlsFiles) -> EnvoyObject:
    """The front door with TLS."""
    return public_listener("tls", topology.envoy.tls, front_chain(topology) | {"transport_socket": tls_socket(tls)})


def redirect_listener(topology: Topology) -> EnvoyObject:
    """The plain port when there is TLS."""
    routes = redirect_routes(topology.envoy.tls)
    manager = public_connection_manager(topology, "redirect", routes, [flood_guard(topology.flood_guard), router()])
    return public_listener("redirect", topology.envoy.front, {"filters": [manager]})


def front_chain(topology: Topology) -> EnvoyObject:
    """What both front doors do with a connection."""
    manager = public_connection_manager(topology, "front", front_routes(topology), front_filters(topology))
    return {"filters": [manager]}


def public_listener(name: str, port: int, filter_chain: EnvoyObject) -> EnvoyObject:
    """A port that the world reaches. `/drain_listeners?inboundonly` ends these and leaves the inner listener."""
    return {
        "name": name,
        "traffic_direction": "INBOUND",
        "address": socket_address(LOOPBACK, port),
        # gRPC clients hold few connections for long: spread them over the worker threads evenly.
        "connection_balance_config": {"exact_balance": {}},
        "filter_chains": [filter_chain],
    }


def inner_listener(topology: Topology) -> EnvoyObject:
    """Where our services reach each other. Signed identities pass here, and draining leaves it alone."""
    manager = connection_manager(
        topology,
        "inner",
        inner_routes(topology),
        [router()],
        codec_type="HTTP2",
        # A caller waits in silence when its connection is out of streams: allow more than there can be calls.
        # And a gateway that reads more slowly than agents write is no attacker: past the frames that wait for one
        # connection Envoy closes it, with every stream on it.
        http2_protocol_options={"max_concurrent_streams": 10000, "max_outbound_frames": 1000000},
        stream_idle_timeout="120s",
        preserve_external_request_id=True,
        access_log=[failure_log("inner")],
    )
    return {
        "name": "inner",
        "traffic_direction": "OUTBOUND",
        "drain_type": "MODIFY_ONLY",
        "address": socket_address(LOOPBACK, topology.envoy.inner),
        "filter_chains": [{"filters": [manager]}],
    }


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
        early_header_mutation_extensions=[without_our_headers()],
        **client_address(topology.trusted_hops),
        **path_hygiene(),
        max_request_headers_kb=32,
        # So that `X_API_KEY` is no second spelling of a header anywhere behind us.
        common_http_protocol_options={"headers_with_underscores_action": "DROP_HEADER"},
        http2_protocol_options=public_http2(),
        request_headers_timeout="10s",
        stream_idle_timeout="60s",
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


def tls_socket(tls: TlsFiles) -> EnvoyObject:
    """TLS 1.2 or newer with the operator's certificate."""
    certificate = {
        "certificate_chain": {"filename": tls.cert_file},
        "private_key": {"filename": tls.key_file},
    }
    return extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context={
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificates": [certificate],
        },
    )


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

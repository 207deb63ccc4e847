"""The HTTP filters of the front door: flood guard, limiter, compression, router."""

from envoyconf.extension import EnvoyObject, extension, typed
from envoyconf.topology import FloodGuard, Topology

LIMITER_FILTER = "envoy.filters.http.ratelimit"


def front_filters(topology: Topology) -> list[EnvoyObject]:
    """What a request from outside passes, in this order."""
    return [flood_guard(topology.flood_guard), limiter(topology.ratelimit_rls.name), compressor(), router()]


def flood_guard(guard: FloodGuard) -> EnvoyObject:
    """Refuses a flood from one address inside Envoy, before it can reach the limiter."""
    return extension(
        "envoy.filters.http.local_ratelimit",
        "extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        stat_prefix="flood_guard",
        filter_enabled=_always("flood_guard.enabled"),
        filter_enforced=_always("flood_guard.enforced"),
        rate_limits=[{"actions": [masked_address()]}],
        # No value: one bucket for each address. Envoy keeps 20 of them by default, and one evicted comes back full.
        descriptors=[{"entries": [{"key": "masked_remote_address"}], "token_bucket": _bucket(guard)}],
        max_dynamic_descriptors=50_000,
        # The bucket without descriptors must be there, but no request with an address draws on it.
        token_bucket=_bucket(guard),
        always_consume_default_token_bucket=False,
        rate_limited_as_resource_exhausted=True,
        response_headers_to_add=[{"header": {"key": "retry-after", "value": "1"}}],
    )


def limiter(cluster: str) -> EnvoyObject:
    """Asks our limiter about each request, by the descriptors of its route, and refuses when there is no answer."""
    return extension(
        LIMITER_FILTER,
        "extensions.filters.http.ratelimit.v3.RateLimit",
        domain="shoal",
        timeout="0.2s",
        failure_mode_deny=True,
        status_on_error={"code": "ServiceUnavailable"},
        rate_limited_as_resource_exhausted=True,
        rate_limit_service={
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": cluster}, "timeout": "0.2s"},
        },
    )


def limiter_disabled() -> EnvoyObject:
    """For a route's `typed_per_filter_config`: the limiter is not asked."""
    return {LIMITER_FILTER: typed("config.route.v3.FilterConfig", disabled=True)}


def compressor() -> EnvoyObject:
    """Compresses JSON for clients that accept gzip; event streams and gRPC go through untouched and unbuffered."""
    return extension(
        "envoy.filters.http.compressor",
        "extensions.filters.http.compressor.v3.Compressor",
        response_direction_config={
            "common_config": {"min_content_length": 1024, "content_type_matcher": [{"prefix": "application/json"}]},
        },
        compressor_library=extension("gzip", "extensions.compression.gzip.compressor.v3.Gzip"),
    )


def router() -> EnvoyObject:
    """Sends the request to its cluster; always the last filter."""
    return extension("envoy.filters.http.router", "extensions.filters.http.router.v3.Router")


def masked_address() -> EnvoyObject:
    """The client's address as a descriptor entry: IPv4 whole, IPv6 by /64, since one subscriber owns all of that."""
    return {"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}}


def _bucket(guard: FloodGuard) -> EnvoyObject:
    return {"max_tokens": guard.burst, "tokens_per_fill": guard.per_second, "fill_interval": "1s"}


def _always(runtime_key: str) -> EnvoyObject:
    return {"runtime_key": runtime_key, "default_value": {"numerator": 100, "denominator": "HUNDRED"}}

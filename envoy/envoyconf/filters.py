"""The HTTP filters of the front door: flood guard, limiter, compression, router."""

from envoyconf.extension import EnvoyObject, extension, typed
from envoyconf.topology import FloodGuard, Topology

LIMITER_FILTER = "envoy.filters.http.ratelimit"
OPEN_LIMITER_FILTER = "limiter-that-fails-open"
LIMITER_DOMAIN = "shoal"
"""As our limiter knows us; every other domain is of somebody else's Envoy."""
LIMITER_SECONDS = 0.2
"""How long a request waits for the limiter, its retries included."""
MOST_BODY_BYTES = (4 << 20) + (64 << 10)
"""A little more than the longest message of our servers, which say better what is wrong with one."""
LIMITER_RETRIES = 5
"""The least busy limiter is a dead one, until its ejection has reached every thread of Envoy."""
FIRST_RETRY_SECONDS = 0.005
"""About how long the first retry waits, and later ones up to twice as long each, so that all fit into the time."""


def front_filters(topology: Topology) -> list[EnvoyObject]:
    """What a request from outside passes, in this order."""
    return [flood_guard(topology.flood_guard), *limiters(topology), body_limit(), compressor(), router()]


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


def limiters(topology: Topology) -> list[EnvoyObject]:
    """The limiter in front of every route; if some fail open, another one that those choose in its place."""
    cluster = topology.ratelimit_rls.name
    closed = limiter(LIMITER_FILTER, cluster, fails_open=False)
    if topology.fail_open is None:
        return [closed]
    return [closed, limiter(OPEN_LIMITER_FILTER, cluster, fails_open=True) | {"disabled": True}]


def limiter(name: str, cluster: str, *, fails_open: bool) -> EnvoyObject:
    """Asks our limiter about each request, by the descriptors of its route. Without an answer, the request is refused,
    or goes on if `fails_open`.
    """
    patience = f"{LIMITER_SECONDS}s"
    return extension(
        name,
        "extensions.filters.http.ratelimit.v3.RateLimit",
        domain=LIMITER_DOMAIN,
        timeout=patience,
        failure_mode_deny=not fails_open,
        status_on_error={"code": "ServiceUnavailable"},
        rate_limited_as_resource_exhausted=True,
        rate_limit_service={
            "transport_api_version": "V3",
            "grpc_service": {
                "envoy_grpc": {"cluster_name": cluster},
                "timeout": patience,
                # Another limiter is asked only if this one cannot have spent anything: not a byte was sent to it.
                "retry_policy": {
                    "retry_on": "connect-failure,reset-before-request",
                    "num_retries": LIMITER_RETRIES,
                    # Envoy takes the longest wait for the time that one attempt has as well.
                    "retry_back_off": {"base_interval": f"{FIRST_RETRY_SECONDS}s", "max_interval": patience},
                },
            },
        },
    )


def limiter_disabled() -> EnvoyObject:
    """For a route's `typed_per_filter_config`: the limiter is not asked."""
    return {LIMITER_FILTER: typed("config.route.v3.FilterConfig", disabled=True)}


def open_limiter() -> EnvoyObject:
    """For a route's `typed_per_filter_config`: the limiter is asked, and its silence keeps nothing from going on."""
    chosen = typed("extensions.filters.http.ratelimit.v3.RateLimitPerRoute")
    return limiter_disabled() | {OPEN_LIMITER_FILTER: chosen}


def body_limit() -> EnvoyObject:
    """Refuses a request as soon as it is known to be too long, by its length or by what has come of it."""
    return extension(
        "envoy.filters.http.body_size_limit",
        "extensions.filters.http.body_size_limit.v3.BodySizeLimit",
        max_request_bytes=MOST_BODY_BYTES,
    )


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
    """Sends the request to its cluster; always the last filter. It tells nobody how long that took."""
    return extension(
        "envoy.filters.http.router", "extensions.filters.http.router.v3.Router", suppress_envoy_headers=True
    )


def masked_address() -> EnvoyObject:
    """The client's address as a descriptor entry: IPv4 whole, IPv6 by /64, since one subscriber owns all of that."""
    return {"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}}


def _bucket(guard: FloodGuard) -> EnvoyObject:
    return {"max_tokens": guard.burst, "tokens_per_fill": guard.per_second, "fill_interval": "1s"}


def _always(runtime_key: str) -> EnvoyObject:
    return {"runtime_key": runtime_key, "default_value": {"numerator": 100, "denominator": "HUNDRED"}}

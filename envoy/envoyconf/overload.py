"""The overload manager: what Envoy gives up, one thing after the other, before it runs out of memory."""

from envoyconf.extension import EnvoyObject, extension, typed

CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"
HEAP = "envoy.resource_monitors.fixed_heap"
MOST_CONNECTIONS = 10_000


def overload_manager(max_heap_bytes: int) -> EnvoyObject:
    """Bounds on the clients' connections and on the heap, which Envoy has not by itself."""
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [most_connections(), most_heap(max_heap_bytes)],
        "actions": actions(),
        "loadshed_points": [shed("envoy.load_shed_points.tcp_listener_accept", 0.98)],
        # Streams that hold less than 64 KiB are not looked at when large ones are reset.
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 16},
    }


def actions() -> list[EnvoyObject]:
    """In their order: free memory goes back, the idle leave sooner, large streams end, new requests are refused."""
    return [
        shed("envoy.overload_actions.shrink_heap", 0.80),
        reduced_timeouts(),
        gradual("envoy.overload_actions.reset_high_memory_stream", 0.90, 0.97),
        shed("envoy.overload_actions.stop_accepting_requests", 0.95),
    ]


def reduced_timeouts() -> EnvoyObject:
    """Idle connections are closed after as little as 10 s; streams keep their time, since a model may be silent."""
    factors = [{"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": "10s"}]
    settings = typed("config.overload.v3.ScaleTimersOverloadActionConfig", timer_scale_factors=factors)
    return gradual("envoy.overload_actions.reduce_timeouts", 0.85, 0.92) | {"typed_config": settings}


def shed(name: str, pressure: float) -> EnvoyObject:
    """Happens as a whole from a part of the heap on."""
    return {"name": name, "triggers": [{"name": HEAP, "threshold": {"value": pressure}}]}


def gradual(name: str, start: float, full: float) -> EnvoyObject:
    """Happens more and more between two parts of the heap."""
    return {
        "name": name,
        "triggers": [{"name": HEAP, "scaled": {"scaling_threshold": start, "saturation_threshold": full}}],
    }


def most_connections() -> EnvoyObject:
    """Connections of strangers, over all listeners that they reach."""
    return extension(
        CONNECTIONS,
        "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=MOST_CONNECTIONS,
    )


def most_heap(max_heap_bytes: int) -> EnvoyObject:
    """Memory that Envoy has allocated and uses."""
    return extension(
        HEAP,
        "extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
        max_heap_size_bytes=max_heap_bytes,
    )

"""Channels to other services, through Envoy's inner listener."""

import grpc

from meshkit.serve import MAX_MESSAGE_BYTES

_OPTIONS = (
    # Envoy retries; two layers of retries would multiply.
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", 16 * MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A channel of its own connection: equal channels would share one.
    ("grpc.use_local_subchannel_pool", 1),
)


def open_channel(address: str) -> grpc.aio.Channel:
    """An HTTP/2 channel without TLS. The caller closes it, as an async context manager."""
    return grpc.aio.insecure_channel(address, options=_OPTIONS)

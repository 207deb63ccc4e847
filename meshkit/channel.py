"""Channels to other services, through Envoy's inner listener."""

from pathlib import Path
from typing import cast

import grpc

from meshkit.http1.channel import Http1Channel
from meshkit.mesh_tls import NAME, MeshTls
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


def open_channel(address: str, *, tls: MeshTls | None = None) -> grpc.aio.Channel:
    """An HTTP/2 channel, with mutual TLS if that is given. The caller closes it, as an async context manager."""
    if tls is None:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=Path(tls.ca_file).read_bytes(),
        private_key=Path(tls.key_file).read_bytes(),
        certificate_chain=Path(tls.cert_file).read_bytes(),
    )
    named = ("grpc.ssl_target_name_override", NAME)
    return grpc.aio.secure_channel(address, credentials, options=(*_OPTIONS, named))


def open_http1_channel(address: str, *, tls: MeshTls | None = None) -> grpc.aio.Channel:
    """The same over HTTP/1.1, for services: a call costs them a tenth. It goes to Envoy alone; see docs/adr/0017."""
    context = tls.client_context() if tls else None
    channel = Http1Channel(address, most_bytes=16 * MAX_MESSAGE_BYTES, tls=context, name=NAME)
    # It has what generated stubs ask for, and nothing else of the class.
    return cast("grpc.aio.Channel", channel)

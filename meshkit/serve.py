"""The life of a gRPC server: starts as NOT_SERVING, serves, and drains when it is told to stop."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from meshkit import server_reflection
from meshkit.guarded_server import Guard, GuardedServer
from meshkit.mesh_tls import MeshTls

MAX_MESSAGE_BYTES = 4 * 1024 * 1024

_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", 16 * MAX_MESSAGE_BYTES),
    # Envoy pings idle connections; the default allows one ping in two hours and then hangs up.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # Compressed requests could unfold to any size before they are measured.
    ("grpc.compression_enabled_algorithms_bitset", 1),
)

log = structlog.get_logger()


def new_server(guard: Guard | None = None, *, max_request_bytes: int = MAX_MESSAGE_BYTES) -> GuardedServer:
    """A server with `guard` around our own services. Larger requests are refused with RESOURCE_EXHAUSTED unread."""
    options = (*_OPTIONS, ("grpc.max_receive_message_length", max_request_bytes))
    return GuardedServer(grpc.aio.server(options=options), guard, most_bytes=max_request_bytes)


def on_stop_signals(tell: Callable[[], object]) -> None:
    """Calls `tell` at every SIGTERM and SIGINT, on the running loop. Called once per process."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tell)


async def start(
    server: grpc.aio.Server, *, port: int, services: Sequence[str], tls: MeshTls | None = None
) -> health.aio.HealthServicer:
    """Starts on 127.0.0.1 with health and reflection for `services`. Raises OSError if the port is busy.

    With `tls`, callers without a certificate of the mesh are turned away.

    Health is NOT_SERVING until the server has started. Returns the health service, for `drain`.
    """
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server_reflection.enable(server, (*services, health.SERVICE_NAME))
    for name in ("", *services):
        await servicer.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
    try:
        _open(server, f"127.0.0.1:{port}", tls)
    except RuntimeError as error:
        raise OSError(f"port {port} on 127.0.0.1 is busy") from error
    await server.start()
    for name in ("", *services):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    log.info("serving", port=port)
    return servicer


async def drain(
    server: grpc.aio.Server, servicer: health.aio.HealthServicer, *, notice_seconds: float, grace_seconds: float
) -> None:
    """Says NOT_SERVING, goes on for `notice_seconds` while Envoy takes the process out of its pool, and gives running
    calls `grace_seconds` to end."""
    log.info("draining")
    await servicer.enter_graceful_shutdown()
    await asyncio.sleep(notice_seconds)
    await server.stop(grace_seconds)
    log.info("stopped")


def _open(server: grpc.aio.Server, address: str, tls: MeshTls | None) -> None:
    """Raises RuntimeError if the port is busy."""
    if tls is None:
        server.add_insecure_port(address)
        return
    pair = Path(tls.key_file).read_bytes(), Path(tls.cert_file).read_bytes()
    authority = Path(tls.ca_file).read_bytes()
    server.add_secure_port(address, grpc.ssl_server_credentials([pair], authority, require_client_auth=True))

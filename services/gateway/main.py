"""The gateway process: what it is made of."""

import asyncio
import gc
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager

import structlog
import uvicorn

from meshkit import process
from meshkit.channel import open_http1_channel
from meshkit.mesh_tls import MeshTls
from meshkit.metrics import Load
from services.gateway.agent_client import AgentClient
from services.gateway.app import create_app
from services.gateway.one_write import OneWriteProtocol
from services.gateway.settings import GatewaySettings

KEEP_ALIVE_SECONDS = 75
"""Longer than Envoy keeps an idle connection (30 s), so that no request meets a closing one."""

log = structlog.get_logger()


async def run(settings: GatewaySettings) -> None:
    """Runs one gateway until SIGTERM or SIGINT. Raises OSError if the port is busy."""
    async with AsyncExitStack() as stack:
        this = await stack.enter_async_context(process.start("gateway", settings))
        channel = await stack.enter_async_context(open_http1_channel(settings.mesh_address, tls=settings.mesh_tls()))
        app = create_app(
            agent=AgentClient(channel),
            signer=this.signer,
            metrics=this.metrics,
            settings=settings,
            is_draining=this.stopped.is_set,
        )
        this.load = lambda: Load(running=app.running)
        listener = stack.enter_context(listen(settings.port))
        server = _Server(
            uvicorn.Config(
                app,
                http=OneWriteProtocol,
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                ssl_context_factory=_tls_context(settings.mesh_tls()),
            )
        )
        # In a group, so that a server that fails ends the process instead of leaving it deaf.
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve(sockets=[listener]))
            # What is there by now stays until the end: full collections need not look through it again and again.
            gc.collect()
            gc.freeze()
            this.ready = True
            log.info("serving", port=settings.port)
            await this.stopped.wait()
            this.ready = False
            log.info("draining")
            await this.unless_hurried(asyncio.sleep(settings.drain_notice_seconds))
            server.should_exit = True
            await this.unless_hurried(asyncio.wait({serving}, timeout=settings.drain_seconds))
            server.cut_off()
        log.info("stopped")


def listen(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1. Raises OSError if the port is busy."""
    try:
        listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    except OSError as error:
        raise OSError(f"port {port} on 127.0.0.1 is busy") from error
    # Connections inherit it; asyncio sets it only where the protocol was named. Without it, a small write waits about
    # 40 ms for the acknowledgement of the one before.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _tls_context(tls: MeshTls | None) -> Callable[..., ssl.SSLContext] | None:
    """What uvicorn takes its TLS from; None for a plain server."""
    return (lambda config, default: tls.server_context()) if tls else None


class _Server(uvicorn.Server):
    """Leaves signals to the process."""

    def cut_off(self) -> None:
        """Ends what still runs by closing its connection; Envoy tells the callers that the service is gone."""
        self.force_exit = True
        for connection in self.server_state.connections:
            connection.transport.abort()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

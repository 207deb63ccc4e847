"""What every process of the mesh has: logs, metrics, spans, the mesh secret, a signal to stop."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import grpc

from meshkit import logs, metrics, serve, tracing
from meshkit.call_guard import CallGuard
from meshkit.identity import IdentitySigner
from meshkit.metrics import Metrics
from meshkit.settings import ServiceSettings


@dataclass(frozen=True, slots=True)
class Listening:
    """A server, its port on 127.0.0.1, and the full names of its services."""

    server: grpc.aio.Server
    port: int
    services: Sequence[str]


@dataclass(slots=True)
class Process:
    """One process of the mesh, from its start to its end."""

    settings: ServiceSettings
    signer: IdentitySigner
    metrics: Metrics
    calls: CallGuard
    """The guard around every RPC of ours."""
    stopped: asyncio.Event
    """Set when the process is told to stop."""
    ready: bool = False
    """Shown as GET /ready on the metrics port."""

    def new_server(self) -> grpc.aio.Server:
        """A gRPC server that guards every RPC of ours."""
        return serve.new_server(self.calls)

    async def serve(
        self, server: grpc.aio.Server, services: Sequence[str], *, beside: Sequence[Listening] = ()
    ) -> None:
        """Serves the named services on the process's port, and those `beside` it on theirs, until the process is told
        to stop; then drains all at once. The process's own port is the last to open. Whatever happens, every server
        has stopped in the end.

        Raises OSError if a port is busy.
        """
        async with AsyncExitStack() as started:
            drains = []
            for each in (*beside, Listening(server, self.settings.port, services)):
                health = await serve.start(each.server, port=each.port, services=each.services)
                started.push_async_callback(each.server.stop, None)
                drains.append(partial(serve.drain, each.server, health))
            # What is there by now stays until the end: full collections need not look through it again and again.
            gc.collect()
            gc.freeze()
            self.ready = True
            await self.stopped.wait()
            self.ready = False
            settings = self.settings
            timing = {"notice_seconds": settings.drain_notice_seconds, "grace_seconds": settings.drain_seconds}
            await asyncio.gather(*(drain(**timing) for drain in drains))
            await self.calls.end_running()


@asynccontextmanager
async def start(service: str, settings: ServiceSettings) -> AsyncIterator[Process]:
    """Begins a process: logging, metrics server, spans. Ends them in reverse."""
    logs.configure(service=service, replica=settings.replica, level=settings.log_level, form=settings.log_format)
    signer, measured = IdentitySigner.from_file(settings.mesh_secret_file), Metrics()
    process = Process(
        settings=settings,
        signer=signer,
        metrics=measured,
        calls=CallGuard(signer=signer, metrics=measured, replica=settings.replica),
        stopped=serve.stop_signal(),
    )
    flush_spans = None
    if settings.otlp_endpoint:
        flush_spans = tracing.export_spans(settings.otlp_endpoint, service=service, replica=settings.replica)
    with metrics.exposed(process.metrics, port=settings.metrics_port, is_ready=lambda: process.ready):
        try:
            yield process
        finally:
            if flush_spans:
                flush_spans()

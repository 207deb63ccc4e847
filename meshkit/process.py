"""What every process of the mesh has: logs, metrics, spans, the mesh secret, a signal to stop."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import msgspec

from meshkit import logs, metrics, serve, tracing
from meshkit.call_guard import CallGuard
from meshkit.guarded_server import GuardedServer
from meshkit.http1.server import listening
from meshkit.http1.server_connection import Terms
from meshkit.identity import IdentitySigner
from meshkit.metrics import Load, Metrics, Status
from meshkit.settings import ServiceSettings


@dataclass(frozen=True, slots=True)
class Listening:
    """A server, its port on 127.0.0.1, and the full names of its services."""

    server: GuardedServer
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
    load: Callable[[], Load]
    """What it works on: what the guard sees, unless the process knows more and says so."""
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process is told to stop."""
    hurried: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is told again: whatever still runs is to end now."""
    ready: bool = False
    """Whether it serves and has not been told to stop."""

    def status(self) -> Status:
        """Shown on the metrics port."""
        return Status(ready=self.ready, draining=self.stopped.is_set(), **msgspec.structs.asdict(self.load()))

    def stop(self) -> None:
        """Tells the process to stop; the second time, to end at once."""
        (self.hurried if self.stopped.is_set() else self.stopped).set()

    async def unless_hurried(self, wait: Awaitable[object]) -> None:
        """Waits; gives it up, and cancels what it waits for, once the process is told to end at once."""
        waiting, hurrying = asyncio.ensure_future(wait), asyncio.ensure_future(self.hurried.wait())
        try:
            await asyncio.wait({waiting, hurrying}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
        finally:
            waiting.cancel()
            hurrying.cancel()
            await asyncio.gather(waiting, hurrying, return_exceptions=True)

    def new_server(self) -> GuardedServer:
        """A gRPC server that guards every RPC of ours."""
        return serve.new_server(self.calls)

    async def serve(
        self,
        server: GuardedServer,
        services: Sequence[str],
        *,
        beside: Sequence[Listening] = (),
        http1_port: int,
    ) -> None:
        """Serves the named services on the process's port, those `beside` it on theirs, and all of them over HTTP/1.1
        on `http1_port`, until the process is told to stop; then drains all at once. The process's own port is the last
        to open. Whatever happens, every server has stopped and every call has ended in the end.

        Raises OSError if a port is busy.
        """
        tls = self.settings.mesh_tls()
        own = Listening(server, self.settings.port, services)
        async with AsyncExitStack() as started:
            started.push_async_callback(self.calls.end_running)
            # Its own server first: both have a health service, and the one that is asked there is its own.
            terms = Terms([server, *(each.server for each in beside)], is_serving=lambda: self.ready)
            http1 = await started.enter_async_context(
                listening(terms, port=http1_port, tls=tls.server_context() if tls else None)
            )
            drains: list[Callable[..., Awaitable[None]]] = [http1.drain]
            for each in (*beside, own):
                health = await serve.start(each.server, port=each.port, services=each.services, tls=tls)
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
            await self.unless_hurried(asyncio.gather(*(drain(**timing) for drain in drains)))
            # Before all others: it is Envoy whose callers are to be told.
            await http1.stop(0)


@asynccontextmanager
async def start(service: str, settings: ServiceSettings) -> AsyncIterator[Process]:
    """Begins a process: logging, metrics server, spans. Ends them in reverse."""
    logs.configure(service=service, replica=settings.replica, level=settings.log_level, form=settings.log_format)
    signer, measured = IdentitySigner.from_file(settings.mesh_secret_file), Metrics()
    calls = CallGuard(
        signer=signer,
        metrics=measured,
        replica=settings.replica,
        longest_seconds=settings.stream_max_seconds,
        slow_client_seconds=settings.slow_client_seconds,
    )
    process = Process(
        settings=settings, signer=signer, metrics=measured, calls=calls, load=lambda: Load(running=calls.running)
    )
    serve.on_stop_signals(process.stop)
    flush_spans = None
    if settings.otlp_endpoint:
        flush_spans = tracing.export_spans(settings.otlp_endpoint, service=service, replica=settings.replica)
    with metrics.exposed(process.metrics, port=settings.metrics_port, status=process.status):
        try:
            yield process
        finally:
            if flush_spans:
                flush_spans()

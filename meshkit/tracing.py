"""W3C trace context through every hop, and OpenTelemetry spans where an OTLP endpoint is set."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()
_NO_SPAN = nullcontext()


def export_spans(endpoint: str, *, service: str, replica: str) -> Callable[[], None]:
    """Sends spans to `endpoint` (OTLP over HTTP) from a background thread, which drops them when it cannot keep up.

    Returns what flushes and stops it. The SDK is imported only here, for it costs several MB.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": f"shoal-{service}", "service.instance.id": replica})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=2))
    )
    trace.set_tracer_provider(provider)
    return provider.shutdown


def server_span(name: str, headers: Mapping[str, str]) -> AbstractContextManager[None]:
    """Continues the caller's trace for what is done inside; without an endpoint it only carries the context on."""
    # Most calls of most meshes have no trace, and a span that nobody sees costs 10 µs.
    return _span(name, headers) if "traceparent" in headers or _exports_spans() else _NO_SPAN


def _exports_spans() -> bool:
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@contextmanager
def _span(name: str, headers: Mapping[str, str]) -> Iterator[None]:
    token = context.attach(_PROPAGATOR.extract(headers))
    try:
        with trace.get_tracer("shoal").start_as_current_span(name, kind=trace.SpanKind.SERVER):
            yield
    finally:
        context.detach(token)


def current_headers() -> tuple[tuple[str, str], ...]:
    """The `traceparent` and `tracestate` for a call made now; empty outside of a trace."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return tuple(carrier.items())

"""OpenTelemetry spans: exported where an endpoint is set, and not even imported where none is."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

SERVICES = """
import sys
import services.agent.main, services.cache.main, services.gateway.main, services.ratelimit.main
print(any(name.startswith(("opentelemetry.sdk.trace", "opentelemetry.exporter")) for name in sys.modules))
"""
TRACED = """
import sys
from meshkit import tracing
flush = tracing.export_spans(sys.argv[1], service="agent", replica="agent-1")
with tracing.server_span("/shoal.Test/Call", {"traceparent": sys.argv[2]}):
    print(dict(tracing.current_headers())["traceparent"])
flush()
"""


def output(program: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    ).stdout


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """An OTLP endpoint; yields its address and what it is sent."""
    received: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Not on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", received
        finally:
            server.shutdown()
            thread.join()


def test_a_service_without_an_endpoint_does_not_pay_for_spans() -> None:
    assert output(SERVICES).strip() == "False"


def test_spans_continue_the_callers_trace_and_are_exported_when_the_process_ends() -> None:
    with collector() as (endpoint, received):
        onward = output(TRACED, endpoint, TRACEPARENT).strip()
    ((path, content),) = received
    assert path == "/v1/traces"
    (resource,) = ExportTraceServiceRequest.FromString(content).resource_spans
    attributes = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
    assert (attributes["service.name"], attributes["service.instance.id"]) == ("shoal-agent", "agent-1")
    (span,) = resource.scope_spans[0].spans
    _, trace_id, parent_id, flags = TRACEPARENT.split("-")
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == ("/shoal.Test/Call", trace_id, parent_id)
    assert onward == f"00-{trace_id}-{span.span_id.hex()}-{flags}"

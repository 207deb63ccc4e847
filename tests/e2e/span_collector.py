"""An OTLP collector that notes which service sent a span of which trace."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class SpanCollector:
    """A running collector."""

    address: str
    spans: list[tuple[str, str]]
    """The service and the trace id of each span that has arrived."""

    def services_in(self, trace_id: str) -> set[str]:
        return {service for service, trace in list(self.spans) if trace == trace_id}


@contextmanager
def span_collector() -> Iterator[SpanCollector]:
    """Runs one on a free port of this machine."""
    spans: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.read_body()
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
                spans.extend((names[0], span.trace_id.hex()) for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def read_body(self) -> bytes:
            """Python's exporter sends a length, Envoy chunks."""
            if "content-length" in self.headers:
                return self.rfile.read(int(self.headers["content-length"]))
            body = bytearray()
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            return bytes(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield SpanCollector(f"http://127.0.0.1:{server.server_port}", spans)
        finally:
            server.shutdown()
            thread.join()

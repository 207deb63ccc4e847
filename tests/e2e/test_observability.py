"""What an operator sees of a request: logs, metrics, traces."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.backends import wait_until
from tests.mesh import Mesh, running_mesh

SECRET_WORDS = "xylophone marmalade"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def ask(mesh: Mesh, task: str, **headers: str) -> httpx.Response:
    body = {"task": task, "max_tokens": 8}
    return httpx.post(
        f"{mesh.url}/api/v1/task", json=body, headers={"X-API-Key": mesh.api_key, **headers}, timeout=60
    ).raise_for_status()


def logged(mesh: Mesh, request_id: str) -> set[str]:
    """The processes with a line about the request."""
    return {path.stem for path in mesh.logs() if request_id in path.read_text()}


def test_every_service_logs_the_request_id(mesh: Mesh) -> None:
    answer = ask(mesh, "Say something to be logged.")
    request_id, replica = answer.headers["x-request-id"], answer.headers["x-shoal-replica"]
    expected = {"envoy", "gateway-1", "ratelimit-1", "cache-1", replica}
    wait_until(lambda: logged(mesh, request_id) >= expected, f"log lines of {expected}")
    lines = [
        json.loads(line)
        for path in mesh.logs()
        if path.stem in expected
        for line in path.read_text().splitlines()
        if request_id in line
    ]
    assert all(line["request_id"] == request_id for line in lines)


def test_no_log_holds_a_prompt_or_an_answer_or_a_key(mesh: Mesh) -> None:
    answer = ask(mesh, f"Repeat these words: {SECRET_WORDS}")
    request_id = answer.headers["x-request-id"]
    wait_until(lambda: len(logged(mesh, request_id)) >= 5, "log lines of five processes")
    logs = "\n".join(path.read_text() for path in mesh.logs() if path.stem != "demo-key")
    assert SECRET_WORDS not in logs
    assert answer.json()["output"] not in logs
    assert mesh.api_key not in logs


def test_every_service_and_envoy_show_metrics(mesh: Mesh) -> None:
    ask(mesh, "Say something to be counted.")
    for process in ("gateway-1", "ratelimit-1", "cache-1", "agent-1", "agent-2", "agent-3"):
        metrics = httpx.get(f"http://127.0.0.1:{mesh.metrics_port(process)}/metrics").text
        assert "shoal_" in metrics, process
        assert "process_resident_memory_bytes" in metrics, process
    assert "envoy_cluster_upstream_rq" in httpx.get(f"http://127.0.0.1:{mesh.admin_port}/stats/prometheus").text


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """An OTLP collector; yields its address and the (service, trace id) of each span that arrived."""
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
            yield f"http://127.0.0.1:{server.server_port}", spans
        finally:
            server.shutdown()
            thread.join()


def test_a_callers_trace_goes_through_every_hop() -> None:
    with collector() as (address, spans), running_mesh(SHOAL_OTLP_ENDPOINT=address) as mesh:
        ask(mesh, "Say something to be traced.", traceparent=f"00-{TRACE_ID}-00f067aa0ba902b7-01")
        wanted = {"shoal-gateway", "shoal-agent", "shoal-cache", "shoal-ratelimit"}

        def traced() -> set[str]:
            return {service for service, trace_id in spans if trace_id == TRACE_ID}

        wait_until(lambda: traced() >= wanted and len(traced()) > len(wanted), "spans of every service and Envoy")

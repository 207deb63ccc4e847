"""What an operator sees of a request: logs, metrics, traces."""

import json

import httpx

from tests.backends import wait_until
from tests.e2e.span_collector import SpanCollector
from tests.mesh import Mesh

SECRET_WORDS = "xylophone marmalade"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPANS_TOGETHER = 5
"""How many Envoy sends at once; fewer wait for seconds."""


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


def test_a_callers_trace_goes_through_every_hop(simulated_mesh: Mesh, spans: SpanCollector) -> None:
    # Envoy sends its spans when it has some.
    for _ in range(SPANS_TOGETHER):
        ask(simulated_mesh, "Say something to be traced.", traceparent=f"00-{TRACE_ID}-00f067aa0ba902b7-01")
    ours = {"shoal-gateway", "shoal-agent", "shoal-cache", "shoal-ratelimit"}

    wait_until(lambda: spans.services_in(TRACE_ID) > ours, "spans of every service and Envoy")

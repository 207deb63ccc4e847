"""Prometheus metrics of a process, and the small HTTP server that shows them, its readiness and its load."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import msgspec
from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Histogram,
    make_wsgi_app,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

RPC_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)


class Metrics:
    """The registry of one process with what every service measures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR):
            self.registry.register(collector)
        self.rpc_seconds = Histogram(
            "shoal_rpc_seconds",
            "Time from the arrival of a call to its end.",
            ("method", "code"),
            buckets=RPC_BUCKETS_SECONDS,
            registry=self.registry,
        )


class NearHits(Collector):
    """How often a near cache spared a look-up, and what that saved: what the cache counts of the look-ups it sees."""

    def __init__(self, metrics: Metrics) -> None:
        self._hits = 0
        self._input_tokens = 0
        self._output_tokens = 0
        self._cost_usd = 0.0
        metrics.registry.register(self)

    def count(self, input_tokens: int, output_tokens: int, cost_usd: float) -> None:
        self._hits += 1
        self._input_tokens += input_tokens
        self._output_tokens += output_tokens
        self._cost_usd += cost_usd

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "shoal_near_cache_hits", "Answers repeated without asking the cache again.", value=self._hits
        )
        tokens = CounterMetricFamily(
            "shoal_near_cache_saved_tokens", "Tokens of a model that they saved.", labels=["kind"]
        )
        tokens.add_metric(["input"], self._input_tokens)
        tokens.add_metric(["output"], self._output_tokens)
        yield tokens
        yield CounterMetricFamily("shoal_near_cache_saved_usd", "US dollars that they saved.", value=self._cost_usd)


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What a process works on at a moment."""

    running: int
    """Calls in work; health, reflection and metrics do not count."""
    waiting: int = 0
    """Calls that wait for a slot, besides those."""
    slots: int | None = None
    """How many it works on at once; None if it sets no bound."""


class Status(Load, frozen=True, kw_only=True):
    """A process at a moment, as GET /status tells it."""

    ready: bool
    """Whether it serves and has not been told to stop."""
    draining: bool
    """Whether it has been told to stop."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Scrapes are not worth a log line."""


@contextmanager
def exposed(metrics: Metrics, *, port: int, status: Callable[[], Status]) -> Iterator[None]:
    """Serves GET /metrics, GET /ready (200 or 503) and GET /status on 127.0.0.1 from a thread of its own until the end.

    `status` is called in that thread. Raises OSError if the port is busy.
    """
    show_metrics = make_wsgi_app(metrics.registry)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        match environ["PATH_INFO"]:
            case "/ready":
                is_ready = status().ready
                start_response("200 OK" if is_ready else "503 Service Unavailable", [("Content-Type", "text/plain")])
                return [b"ready\n" if is_ready else b"not ready\n"]
            case "/status":
                start_response("200 OK", [("Content-Type", "application/json")])
                return [msgspec.json.encode(status())]
            case _:
                return show_metrics(environ, start_response)

    with _listening(application, port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def _listening(application: Any, port: int) -> WSGIServer:
    try:
        return make_server("127.0.0.1", port, application, server_class=_Server, handler_class=_QuietHandler)
    except OSError as error:
        raise OSError(f"port {port} on 127.0.0.1 is busy") from error

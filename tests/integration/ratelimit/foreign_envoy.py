"""An Envoy that is not ours, with a shop behind it that answers every request: another listener of the same Envoy."""

import http.client
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from launcher.processes import binaries
from load.measuring.ports import free_port
from tests.backends import accepts_connections, wait_until

DOMAIN = "shop"

_CONFIG = """
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {front} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: shop
          use_remote_address: true
          route_config:
            virtual_hosts:
            - name: shop
              domains: ["*"]
              routes:
              - match: {{ path: /metered }}
                route: {{ cluster: shop }}
                typed_per_filter_config:
                  envoy.filters.http.ratelimit:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute
                    rate_limits:
                    - actions: [ {{ request_headers: {{ header_name: x-user, descriptor_key: metered }} }} ]
                      hits_addend: {{ number: 3 }}
                    - actions: [ {{ request_headers: {{ header_name: x-user, descriptor_key: metered }} }} ]
                      hits_addend: {{ number: 2, is_negative_hits: true }}
                      apply_on_stream_done: true
              - match: {{ prefix: / }}
                route: {{ cluster: shop }}
          http_filters:
          - name: envoy.filters.http.ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
              domain: {domain}
              timeout: 10s
              failure_mode_deny: true
              enable_x_ratelimit_headers: DRAFT_VERSION_03
              rate_limit_service:
                transport_api_version: V3
                grpc_service: {{ envoy_grpc: {{ cluster_name: limiter }} }}
              rate_limits:
              - actions:
                - generic_key: {{ descriptor_value: api }}
                - request_headers: {{ header_name: x-user, descriptor_key: user }}
              - actions:
                - remote_address: {{}}
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {shop} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: upstream
          route_config:
            virtual_hosts:
            - name: shop
              domains: ["*"]
              routes: [ {{ match: {{ prefix: / }}, direct_response: {{ status: 200 }} }} ]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: shop
    type: STATIC
    load_assignment:
      cluster_name: shop
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {shop} }} }} }}
  - name: limiter
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: limiter
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {limiter} }} }} }}
"""


@dataclass(frozen=True, slots=True)
class ForeignEnvoy:
    """A running Envoy."""

    port: int

    def get(self, *, user: str, path: str = "/") -> tuple[int, dict[str, str]]:
        """The status and the headers of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path, headers={"x-user": user})
            reply = connection.getresponse()
            reply.read()
            return reply.status, {name.lower(): value for name, value in reply.getheaders()}
        finally:
            connection.close()

    def statuses(self, *, user: str, times: int) -> list[int]:
        return [self.get(user=user)[0] for _ in range(times)]


@contextmanager
def foreign_envoy(folder: Path, *, limiter_port: int) -> Iterator[ForeignEnvoy]:
    """An Envoy that asks the limiter on that port, from ready to stopped."""
    front, shop = free_port(), free_port()
    config, log = folder / "foreign.yaml", folder / "foreign.log"
    config.write_text(_CONFIG.format(front=front, shop=shop, limiter=limiter_port, domain=DOMAIN))
    flags = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warn"]
    with (
        log.open("wb") as output,
        subprocess.Popen([binaries.envoy(), "-c", config, *flags], stdout=output, stderr=output) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or accepts_connections(front), "the start of Envoy")
            assert process.poll() is None, log.read_text()
            yield ForeignEnvoy(front)
        finally:
            process.terminate()

"""A bare Envoy before an empty RPC of grpc.aio: what Shoal's cached answers over gRPC are held against."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from launcher.edge.hot_restart import ENOUGH_THREADS
from launcher.processes import binaries
from launcher.processes.readiness import HttpOk
from load.measuring import servers
from load.measuring.home import Home
from load.measuring.ports import free_port
from load.peers.asking import EXECUTE
from load.peers.contender import Grpc, Running, with_descendants

_EXTENSIONS = "type.googleapis.com/envoy.extensions"


@asynccontextmanager
async def bare_echo(home: Home, model: str) -> AsyncIterator[Running]:
    """It answers no completions, only the RPC; no model is needed."""
    port, admin_port = free_port(), free_port()
    config = home.folder / "bare-envoy.json"
    command = [str(binaries.envoy()), "-c", str(config), "--use-dynamic-base-id", "--concurrency", str(ENOUGH_THREADS)]
    async with servers.echo(home, EXECUTE) as behind:
        config.write_text(json.dumps(_config(port, admin_port, int(behind.rpartition(":")[2]))))
        async with with_descendants(home, "bare-envoy", command, {}, HttpOk(admin_port, "/ready")) as pid:
            yield Running({}, pid, None, Grpc(f"127.0.0.1:{port}"))


def _config(port: int, admin_port: int, behind: int) -> dict[str, Any]:
    """JSON is YAML, too. It writes no access log and has no filter but the router."""
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "echo"}}]
    manager = {
        "@type": f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bare",
        "codec_type": "HTTP2",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [_typed("envoy.filters.http.router", "filters.http.router.v3.Router")],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    protocol = {
        "@type": f"{_EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(behind)}}]}]
    cluster = {
        "name": "echo",
        "type": "STATIC",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
        "load_assignment": {"cluster_name": "echo", "endpoints": endpoints},
        # Its defaults would refuse some of a thousand calls at once.
        "circuit_breakers": {"thresholds": [{"max_requests": 10_000, "max_pending_requests": 10_000}]},
    }
    listener = {"name": "front", "address": _address(port), "filter_chains": [{"filters": filters}]}
    return {
        "admin": {"address": _address(admin_port)},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _typed(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{_EXTENSIONS}.{kind}"}}

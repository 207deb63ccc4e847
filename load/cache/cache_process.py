"""A cache service that is measured, a process of its own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from launcher.processes import binaries
from launcher.processes.readiness import HttpOk
from load.cache.caller import Caller, calling
from load.measuring.home import Home
from load.measuring.ports import free_port


@dataclass(frozen=True, slots=True)
class CacheProcess:
    """A running cache, and somebody who calls it."""

    address: str
    pid: int
    caller: Caller


@asynccontextmanager
async def running_cache(
    home: Home, name: str, *, state_url: str, cache_url: str, settings: Mapping[str, str]
) -> AsyncIterator[CacheProcess]:
    """A cache between two Redis servers, with SQLite in the home. Killed at the end."""
    port, metrics_port = free_port(), free_port()
    environment = {
        "SHOAL_REPLICA": name,
        "SHOAL_PORT": str(port),
        "SHOAL_METRICS_PORT": str(metrics_port),
        "SHOAL_MESH_SECRET_FILE": str(home.secret_file),
        "SHOAL_HOME": str(home.folder),
        "SHOAL_STATE_REDIS_URL": state_url,
        "SHOAL_CACHE_REDIS_URL": cache_url,
        "SHOAL_LOG_FORMAT": "json",
        **settings,
    }
    ready = HttpOk(metrics_port, "/ready")
    command, address = [str(binaries.shoal()), "run", "cache"], f"127.0.0.1:{port}"
    async with home.running(name, command, environment, ready) as pid, calling(address, home) as caller:
        yield CacheProcess(address, pid, caller)

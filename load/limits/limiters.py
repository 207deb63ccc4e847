"""Limiters that are measured, each a process of its own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from launcher.processes import binaries
from launcher.processes.readiness import HttpOk
from load.measuring.home import Home
from load.measuring.ports import free_port


@dataclass(frozen=True, slots=True)
class Limiter:
    """A running limiter."""

    address: str
    """Where the mesh asks it."""
    envoy_address: str
    metrics_port: int


@asynccontextmanager
async def running_limiter(
    home: Home, redis_url: str, *, number: int = 1, of: int = 1, settings: Mapping[str, str]
) -> AsyncIterator[Limiter]:
    """One limiter `of` so many. Killed at the end."""
    name = f"ratelimit-{number}"
    port, envoy_port, http1_port, metrics_port = (free_port() for _ in range(4))
    environment = {
        "SHOAL_REPLICA": name,
        "SHOAL_PORT": str(port),
        "SHOAL_ENVOY_PORT": str(envoy_port),
        "SHOAL_HTTP1_PORT": str(http1_port),
        "SHOAL_METRICS_PORT": str(metrics_port),
        "SHOAL_MESH_SECRET_FILE": str(home.secret_file),
        "SHOAL_HOME": str(home.folder),
        "SHOAL_LIMITS_REDIS_URL": redis_url,
        "SHOAL_LIMITERS": str(of),
        "SHOAL_LOG_FORMAT": "json",
        **settings,
    }
    ready = HttpOk(metrics_port, "/ready")
    async with home.running(name, [str(binaries.shoal()), "run", "ratelimit"], environment, ready):
        yield Limiter(f"127.0.0.1:{port}", f"127.0.0.1:{envoy_port}", metrics_port)


@asynccontextmanager
async def running_limiters(
    home: Home, redis_url: str, count: int, *, settings: Mapping[str, str]
) -> AsyncIterator[list[Limiter]]:
    """So many limiters that know of each other. Killed at the end."""
    async with AsyncExitStack() as stack:
        numbers = range(1, count + 1)
        started = [running_limiter(home, redis_url, number=number, of=count, settings=settings) for number in numbers]
        yield [await stack.enter_async_context(limiter) for limiter in started]

"""The real parts that are measured, each a process of its own on loopback and a free port."""

import asyncio
import contextlib
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from launcher import binaries
from launcher.child import tail
from launcher.keys import open_keys
from launcher.migrate import migrate_all
from launcher.readiness import HttpOk, Probe, RedisPong, until_ready
from launcher.settings import KeysSettings, MigrateSettings

START_SECONDS = 20.0


class StartError(Exception):
    """A part did not start. The message holds the end of what it wrote."""


@dataclass(frozen=True, slots=True)
class Limiter:
    """A running limiter."""

    port: int
    """Where the mesh asks it."""
    envoy_port: int
    metrics_port: int

    @property
    def envoy_address(self) -> str:
        return f"127.0.0.1:{self.envoy_port}"


@dataclass(frozen=True, slots=True)
class Home:
    """A folder with the mesh's secret and migrated tables, shared by the limiters that are started in it."""

    folder: Path
    redis_port: int

    @classmethod
    @asynccontextmanager
    async def made(cls) -> "AsyncIterator[Home]":
        """A new one, removed at the end."""
        with tempfile.TemporaryDirectory(prefix="shoal-load-") as name:
            folder = Path(name)
            await migrate_all(MigrateSettings(home=name))
            (folder / "mesh-secret").write_text(secrets.token_hex(32))
            yield cls(folder, free_port())

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/0"

    @asynccontextmanager
    async def valkey(self) -> AsyncIterator[None]:
        """Valkey without persistence, always on the same port. Killed at the end."""
        settings = ("--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder))
        command = [str(binaries.valkey_server()), *settings]
        async with self._running("valkey", command, {}, RedisPong(self.redis_port)):
            yield

    @asynccontextmanager
    async def limiter(self, number: int = 1, *, of: int = 1, settings: Mapping[str, str]) -> AsyncIterator[Limiter]:
        """One limiter `of` so many. Killed at the end."""
        name = f"ratelimit-{number}"
        port, envoy_port, metrics_port = free_port(), free_port(), free_port()
        environment = {
            "SHOAL_REPLICA": name,
            "SHOAL_PORT": str(port),
            "SHOAL_ENVOY_PORT": str(envoy_port),
            "SHOAL_METRICS_PORT": str(metrics_port),
            "SHOAL_MESH_SECRET_FILE": str(self.folder / "mesh-secret"),
            "SHOAL_HOME": str(self.folder),
            "SHOAL_LIMITS_REDIS_URL": self.redis_url,
            "SHOAL_LIMITERS": str(of),
            "SHOAL_LOG_FORMAT": "json",
            **settings,
        }
        ready = HttpOk(metrics_port, "/ready")
        async with self._running(name, [str(binaries.shoal()), "run", "ratelimit"], environment, ready):
            yield Limiter(port, envoy_port, metrics_port)

    @asynccontextmanager
    async def limiters(self, count: int, *, settings: Mapping[str, str]) -> AsyncIterator[list[Limiter]]:
        async with AsyncExitStack() as stack:
            numbers = range(1, count + 1)
            started = [self.limiter(number, of=count, settings=settings) for number in numbers]
            yield [await stack.enter_async_context(limiter) for limiter in started]

    @asynccontextmanager
    async def echo(self) -> AsyncIterator[str]:
        """The empty RPC that the limiter is compared with; yields its address."""
        port = free_port()
        command = [sys.executable, "-m", "load.limits.echo", str(port)]
        async with self._running("echo", command, {}, _Accepts(port)):
            yield f"127.0.0.1:{port}"

    async def create_keys(self, limiter: Limiter, tiers: Sequence[str]) -> list[str]:
        """New API keys, one for each of the tiers, in their order."""
        settings = KeysSettings(home=str(self.folder), mesh_address=f"127.0.0.1:{limiter.port}")
        async with open_keys(settings) as client:
            return [(await client.create(tenant="load", tier=tier, name="load test")).secret for tier in tiers]

    @asynccontextmanager
    async def _running(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], ready: Probe
    ) -> AsyncIterator[None]:
        """The process, once it is ready. Killed at the end, and gone then. Raises StartError."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            # Nothing may run in the child before its program: forking beside gRPC's threads breaks it now and then.
            process = await asyncio.create_subprocess_exec(
                *command, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        try:
            await self._until_ready(name, process, ready)
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _until_ready(self, name: str, process: asyncio.subprocess.Process, ready: Probe) -> None:
        waits = [asyncio.create_task(wait) for wait in (process.wait(), until_ready([ready]))]
        try:
            await asyncio.wait(waits, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not waits[1].done():
            lines = tail(self.folder / f"{name}.log", since=0, count=15)
            raise StartError("\n".join([f"{name} did not start:", *lines]))


@dataclass(frozen=True, slots=True)
class _Accepts:
    """Somebody listens on the port."""

    port: int

    async def passes(self) -> bool:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()
        return True


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port

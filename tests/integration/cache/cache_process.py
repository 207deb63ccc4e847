"""The cache service as a process of its own, and a caller that talks to it as another service does."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from meshkit.channel import open_channel
from meshkit.identity import HEADER, LIFETIME_SECONDS, Authentication, Identity, IdentitySigner
from shoal.cache.v1 import cache_pb2, cache_pb2_grpc
from tests.backends import accepts_connections, wait_until
from tests.ports import free_port

SECRET = b"the mesh secret of these tests, 32 bytes or more"
TIMEOUT_SECONDS = 20.0

_PROGRAM = """
import asyncio, os
from meshkit.settings import load
from services.cache.main import run
from services.cache.settings import CacheSettings
asyncio.run(run(load(CacheSettings, os.environ)))
"""


@dataclass(frozen=True, slots=True)
class CacheProcess:
    """A running cache service."""

    address: str
    metrics_url: str

    def metrics(self) -> dict[str, float]:
        """Sample values by name with labels, as /metrics shows them."""
        with urllib.request.urlopen(self.metrics_url) as response:  # noqa: S310 - our own http address
            lines = response.read().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}


@contextmanager
def cache_process(folder: Path, *, redis_url: str, **settings: str) -> Iterator[CacheProcess]:
    """Starts the service and waits until it serves; it has stopped in order at the end."""
    secret_file = folder / "mesh_secret"
    secret_file.write_bytes(SECRET)
    port, metrics_port = free_port(), free_port()
    environ = {
        "SHOAL_REPLICA": "cache-1",
        "SHOAL_PORT": str(port),
        "SHOAL_METRICS_PORT": str(metrics_port),
        "SHOAL_MESH_SECRET_FILE": str(secret_file),
        "SHOAL_CACHE_REDIS_URL": redis_url,
        "SHOAL_L2_TIMEOUT_SECONDS": "10",
        "SHOAL_LOG_LEVEL": "warning",
        "SHOAL_DRAIN_NOTICE_SECONDS": "0",
        "SHOAL_DRAIN_SECONDS": "1",
        **settings,
    }
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], env=environ) as process:
        try:
            wait_until(lambda: process.poll() is not None or accepts_connections(port), "the start of the cache")
            assert process.poll() is None, "the cache ended at its start; its output says why"
            yield CacheProcess(f"127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}/metrics")
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        assert process.wait(TIMEOUT_SECONDS) == 0
    finally:
        process.kill()


def signed(
    tenant: str, *, authentication: Authentication = Authentication.API_KEY, secret: bytes = SECRET
) -> tuple[tuple[str, str], ...]:
    """The metadata of a call on behalf of a tenant."""
    expires = time.time() + LIFETIME_SECONDS
    identity = Identity(tenant, "premium", "key_1", authentication, expires)
    return ((HEADER, IdentitySigner(secret).sign(identity)),)


class Caller:
    """Calls the cache with the given metadata. A context manager."""

    def __init__(self, cache: CacheProcess, metadata: Sequence[tuple[str, str]]) -> None:
        self._channel = open_channel(cache.address)
        self._stub = cache_pb2_grpc.CacheServiceStub(self._channel)
        self._metadata = tuple(metadata)

    async def __aenter__(self) -> "Caller":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def open(
        self, key: str, policy: cache_pb2.Policy.ValueType = cache_pb2.POLICY_RESPONSE
    ) -> cache_pb2.OpenResponse:
        request = cache_pb2.OpenRequest(key=key, policy=policy)
        return await self._stub.Open(request, metadata=self._metadata, timeout=TIMEOUT_SECONDS)

    async def publish(self, steps: Sequence[cache_pb2.PublishRequest]) -> cache_pb2.PublishResponse:
        async def requests() -> AsyncIterator[cache_pb2.PublishRequest]:
            for step in steps:
                yield step

        return await self._stub.Publish(requests(), metadata=self._metadata, timeout=TIMEOUT_SECONDS)

    async def publish_unfinished(self, *steps: cache_pb2.PublishRequest) -> cache_pb2.PublishResponse:
        """Sends the steps and awaits the answer without ending the call.

        A client that still writes when the service refuses may see grpcio's own INTERNAL instead of the refusal, so
        a test of a refusal sends nothing after the step that is at fault.
        """
        publishing = self.begin_publishing()
        for step in steps:
            await publishing.write(step)
        return await publishing

    def begin_publishing(self) -> grpc.aio.StreamUnaryCall[cache_pb2.PublishRequest, cache_pb2.PublishResponse]:
        return self._stub.Publish(metadata=self._metadata, timeout=TIMEOUT_SECONDS)

    async def stats(self) -> dict[str, cache_pb2.LevelStats]:
        response = await self._stub.Stats(cache_pb2.StatsRequest(), metadata=self._metadata, timeout=TIMEOUT_SECONDS)
        return {row.level: row for row in response.levels}


def begin(key: str, policy: cache_pb2.Policy.ValueType = cache_pb2.POLICY_RESPONSE) -> cache_pb2.PublishRequest:
    return cache_pb2.PublishRequest(begin=cache_pb2.PublishBegin(key=key, policy=policy))


def append(*events: bytes) -> cache_pb2.PublishRequest:
    return cache_pb2.PublishRequest(append=cache_pb2.PublishAppend(events=events))


def end() -> cache_pb2.PublishRequest:
    return cache_pb2.PublishRequest(end=cache_pb2.PublishEnd())

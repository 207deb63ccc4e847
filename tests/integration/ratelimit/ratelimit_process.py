"""The limiter as a process of its own, and the callers it has: Envoy, services of the mesh, the operator."""

import asyncio
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from load.measuring.ports import free_port
from meshkit.channel import open_channel
from meshkit.database import database_url
from meshkit.identity import HEADER, LIFETIME_SECONDS, Authentication, Identity
from meshkit.migrations import migrate
from meshkit.settings import load
from services import ratelimit
from services.ratelimit.settings import OWNER, RatelimitSettings
from shoal.external import rls_pb2_grpc
from shoal.external.rls_pb2 import RateLimitDescriptor, RateLimitRequest, RateLimitResponse
from shoal.ratelimit.v1 import ratelimit_pb2 as pb
from shoal.ratelimit.v1 import ratelimit_pb2_grpc
from tests.backends import accepts_connections, wait_until
from tests.mesh_identity import SECRET, SIGNER, metadata_of

TIMEOUT_SECONDS = 20.0
# So slow that no token comes back while a test runs.
TIERS = "anonymous=0.001/3,free=0.001/10,premium=100/200"
LOOK_UPS = "0.001/3"

_PROGRAM = """
import os
import uvloop
from meshkit.settings import load
from services.ratelimit.main import run
from services.ratelimit.settings import RatelimitSettings
uvloop.run(run(load(RatelimitSettings, os.environ)))
"""


@dataclass(frozen=True, slots=True)
class RatelimitProcess:
    """A running limiter."""

    address: str
    envoy_address: str
    http1_port: int
    metrics_url: str
    log_file: Path
    tell_to_stop: Callable[[], None]

    def log_lines(self, *events: str) -> list[dict[str, Any]]:
        """The lines of these events, in the order in which they were written."""
        lines = (msgspec.json.decode(line) for line in self.log_file.read_bytes().splitlines())
        return [line for line in lines if line["event"] in events]

    def metrics(self) -> dict[str, float]:
        """Sample values by name with labels, as /metrics shows them."""
        with urllib.request.urlopen(self.metrics_url) as response:  # noqa: S310 - our own http address
            lines = response.read().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def change_file(self, path: Path, text: str, *, file: Literal["limits", "domains"], outcome: str) -> None:
        """Replaces what it watches, and waits until it has noticed."""
        new = path.with_suffix(".new")
        new.write_text(text)
        with self.noticing(file, outcome):
            new.replace(path)

    @contextmanager
    def noticing(self, file: Literal["limits", "domains"], outcome: str) -> Iterator[None]:
        """Waits at the end of the block until it has noticed what became there of a file that it watches."""
        sample = f'shoal_ratelimit_file_versions_total{{file="{file}",outcome="{outcome}"}}'
        before = self.metrics().get(sample, 0.0)
        yield
        wait_until(lambda: self.metrics().get(sample, 0.0) > before, f"a version of the {file} that is {outcome}")


def environ(folder: Path, *, redis_url: str) -> dict[str, str]:
    """Settings for a limiter whose files are in `folder`, on free ports."""
    secret_file = folder / "mesh_secret"
    secret_file.write_bytes(SECRET)
    return {
        "SHOAL_REPLICA": "ratelimit-1",
        "SHOAL_PORT": str(free_port()),
        "SHOAL_ENVOY_PORT": str(free_port()),
        "SHOAL_HTTP1_PORT": str(free_port()),
        "SHOAL_METRICS_PORT": str(free_port()),
        "SHOAL_MESH_SECRET_FILE": str(secret_file),
        "SHOAL_HOME": str(folder),
        "SHOAL_LIMITS_REDIS_URL": redis_url,
        "SHOAL_TIERS": TIERS,
        "SHOAL_LOOK_UPS": LOOK_UPS,
        "SHOAL_LOG_FORMAT": "json",
        "SHOAL_DRAIN_NOTICE_SECONDS": "0",
        "SHOAL_DRAIN_SECONDS": "1",
    }


def make_tables(environ: dict[str, str]) -> None:
    settings = load(RatelimitSettings, environ)
    database = database_url(settings.database_url, home=settings.home, owner=OWNER)
    asyncio.run(migrate(database, owner=OWNER, scripts=Path(ratelimit.__file__).parent / "migrations"))


@contextmanager
def started(environ: dict[str, str]) -> Iterator[RatelimitProcess]:
    """Starts the limiter and waits until it serves; it has stopped in order at the end."""
    log_file = Path(environ["SHOAL_HOME"]) / "log"
    port = int(environ["SHOAL_PORT"])
    with log_file.open("wb") as log, begun(environ, stdout=log) as process:
        wait_until(lambda: process.poll() is not None or accepts_connections(port), "the start of the limiter")
        assert process.poll() is None, "the limiter ended at its start; its output says why"
        yield RatelimitProcess(
            address=f"127.0.0.1:{port}",
            envoy_address=f"127.0.0.1:{environ['SHOAL_ENVOY_PORT']}",
            http1_port=int(environ["SHOAL_HTTP1_PORT"]),
            metrics_url=f"http://127.0.0.1:{environ['SHOAL_METRICS_PORT']}/metrics",
            log_file=log_file,
            tell_to_stop=process.terminate,
        )
        process.terminate()
        assert process.wait(TIMEOUT_SECONDS) == 0


@contextmanager
def begun(environ: dict[str, str], **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The process alone; it is gone at the end."""
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], env=environ, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


@asynccontextmanager
async def mesh_caller(address: str) -> AsyncIterator["ratelimit_pb2_grpc.RateLimitServiceAsyncStub"]:
    async with open_channel(address) as channel:
        yield ratelimit_pb2_grpc.RateLimitServiceStub(channel)


def caller(
    key_id: str = "key_1", *, tier: str = "free", authentication: Authentication = Authentication.API_KEY
) -> Identity:
    return Identity("acme", tier, key_id, authentication, expires=time.time() + LIFETIME_SECONDS)


OPERATOR = Authentication.OPERATOR


async def create_key(limiter: RatelimitProcess, *, tenant: str = "acme", tier: str = "free") -> pb.CreateApiKeyResponse:
    """A key made by the operator."""
    request = pb.CreateApiKeyRequest(tenant=tenant, tier=tier, name="made by a test")
    async with mesh_caller(limiter.address) as stub:
        operator = metadata_of(caller(authentication=OPERATOR))
        return await stub.CreateApiKey(request, metadata=operator, timeout=TIMEOUT_SECONDS)


async def update_key(limiter: RatelimitProcess, key_id: str, tier: str) -> pb.ApiKey:
    async with mesh_caller(limiter.address) as stub:
        operator = metadata_of(caller(authentication=OPERATOR))
        request = pb.UpdateApiKeyRequest(id=key_id, tier=tier)
        return (await stub.UpdateApiKey(request, metadata=operator, timeout=TIMEOUT_SECONDS)).api_key


async def revoke_key(limiter: RatelimitProcess, key_id: str) -> None:
    async with mesh_caller(limiter.address) as stub:
        operator = metadata_of(caller(authentication=OPERATOR))
        request = pb.RevokeApiKeyRequest(id=key_id)
        await stub.RevokeApiKey(request, metadata=operator, timeout=TIMEOUT_SECONDS)


def descriptor(**entries: str) -> RateLimitDescriptor:
    return RateLimitDescriptor(
        entries=[RateLimitDescriptor.Entry(key=key, value=value.encode()) for key, value in entries.items()]
    )


async def ask(limiter: RatelimitProcess, address: str, surface: str = "rest", **entries: str) -> RateLimitResponse:
    """What Envoy asks about a request from an address."""
    asked = descriptor(masked_remote_address=address, surface=surface, request_id="r-1", **entries)
    return await ask_raw(limiter, RateLimitRequest(domain="shoal", descriptors=[asked]))


async def ask_raw(limiter: RatelimitProcess, request: RateLimitRequest) -> RateLimitResponse:
    async with open_channel(limiter.envoy_address) as channel:
        stub: rls_pb2_grpc.RateLimitServiceAsyncStub = rls_pb2_grpc.RateLimitServiceStub(channel)
        return await stub.ShouldRateLimit(request, timeout=TIMEOUT_SECONDS)


def identity_in(response: RateLimitResponse) -> Identity:
    """The identity that goes upstream, verified as the services do."""
    values = [header.value for header in response.request_headers_to_add if header.key == HEADER]
    return SIGNER.verify(values, time.time())

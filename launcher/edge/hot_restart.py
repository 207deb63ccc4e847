"""One Envoy after another: how each starts, how it takes over from the one before, and what it leaves behind."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.edge.admin import EnvoyAdmin
from launcher.processes.readiness import Probe

SPARE_SECONDS = 15
"""Envoy's own cap on a stream is 10 s above the services'."""
ENOUGH_THREADS = 2
"""For a machine of its own. One that takes over must have as many, or connections that wait in a queue are lost."""
LOOK_SECONDS = 0.25

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps it, and Envoy leaves it


class HotRestartError(Exception):
    """No other Envoy can take over. The message says why and what to do; the one that runs goes on as before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HotRestart:
    """The Envoys of one mesh."""

    binary: Path
    config: Path
    base_id_file: Path
    """Where an Envoy that starts by itself notes the number that the next one finds it by."""
    stream_max_seconds: float
    """The longest that a call or stream may take."""
    drain_seconds: int = 30
    """By then every client of the old Envoy has been told to go to the new one. Envoy tells those that are silent in
    the last third of this time, and not at all if that third is shorter than the 5 s between its two GOAWAYs."""

    @property
    def overlap_seconds(self) -> float:
        """How long the old Envoy stays after another one took over: none of its streams can last longer."""
        return self.drain_seconds + self.stream_max_seconds + SPARE_SECONDS

    def first(self) -> tuple[str, ...]:
        """The command of one that starts when none is there, or after one that died."""
        return self._command("--use-dynamic-base-id", "--base-id-path", str(self.base_id_file))

    def successor(self, epoch: int) -> tuple[str, ...]:
        """The command of one that takes over from the Envoy of the epoch before. Raises HotRestartError."""
        base_id = self._base_id()
        if not base_id:
            raise HotRestartError(
                f"{self.base_id_file} is not there, so no other Envoy finds the one that runs; stop the mesh and start "
                "it again."
            )
        return self._command("--base-id", base_id, "--restart-epoch", str(epoch))

    async def check(self, admin: EnvoyAdmin) -> None:
        """Whether one that starts now could take over. Raises HotRestartError if not, OSError or EOFError if none runs.

        One that dies at its start keeps all further ones from taking over; and one that starts ends the one before the
        last at once, whatever that still does.
        """
        ours, runs = await self._output("--hot-restart-version"), await admin.hot_restart_version()
        if ours != runs:
            raise HotRestartError(
                f"The Envoy that is installed now cannot take over from the one that runs (their hot restart versions "
                f"are {ours} and {runs}); stop the mesh and start it again."
            )
        if connections := await admin.stat("server.parent_connections"):
            raise HotRestartError(
                f"The Envoy that was replaced last still has {connections} connections to finish; "
                f"try again later, at most {self.overlap_seconds:.0f} s after that."
            )
        await self._output("--mode", "validate", "-c", str(self.config), "--log-level", "error")

    def clean_up(self) -> None:
        """Removes the memory that Envoys shared, which none of them does itself. Only when none is left."""
        if base_id := self._base_id():
            # Envoy multiplies the number by ten.
            (_SHARED_MEMORY / f"envoy_shared_memory_{base_id}0").unlink(missing_ok=True)
            self.base_id_file.unlink()

    @contextlib.contextmanager
    def cleaned_up(self) -> Iterator[None]:
        """Removes what former Envoys left behind, before and after."""
        self.clean_up()
        try:
            yield
        finally:
            self.clean_up()

    def _command(self, *identity: str) -> tuple[str, ...]:
        # info would log each change of its configuration.
        usual = ("--concurrency", str(ENOUGH_THREADS), "--log-level", "warning")
        patience = (
            "--drain-time-s",
            str(self.drain_seconds),
            "--parent-shutdown-time-s",
            f"{self.overlap_seconds:.0f}",
        )
        return (str(self.binary), "-c", str(self.config), *usual, *patience, *identity)

    def _base_id(self) -> str:
        return self.base_id_file.read_text().strip() if self.base_id_file.exists() else ""

    async def _output(self, *options: str) -> str:
        """What a run that ends by itself says. Raises HotRestartError if it fails."""
        pipe = asyncio.subprocess.PIPE
        run = await asyncio.create_subprocess_exec(
            str(self.binary), *options, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        said = (await run.communicate())[0].decode(errors="replace").strip()
        if run.returncode != 0:
            raise HotRestartError(f"Envoy does not accept {self.config}: {said}")
        return said


@dataclass(frozen=True, slots=True)
class TakenOver:
    """The Envoy of this epoch has taken over: the admin port answers for it, and it serves."""

    admin: EnvoyAdmin
    epoch: int

    async def passes(self) -> bool:
        server = await self.admin.server()
        return server.epoch == self.epoch and server.state == "LIVE"


async def replaced(
    hot_restart: HotRestart,
    admin: EnvoyAdmin,
    *,
    start: Callable[[Sequence[str], Probe], Awaitable[None]],
    say: Callable[[str], None],
) -> None:
    """Has another Envoy take over from the one that runs. No connection is refused and no stream is broken.

    `start` starts the command beside the running one and returns when the probe passes; it raises HotRestartError if
    the process ends before. When this returns, the old one has nothing left to do, but nobody may end it: the new one
    does that after `overlap_seconds`, and dies with SIGABRT if it finds the old one gone before that. Raises
    HotRestartError, and what EnvoyAdmin raises.
    """
    await hot_restart.check(admin)
    epoch = (await admin.server()).epoch + 1
    say("envoy: starting another one")
    await start(hot_restart.successor(epoch), TakenOver(admin, epoch))
    drain_seconds, overlap_seconds = hot_restart.drain_seconds, hot_restart.overlap_seconds
    say(f"envoy: the new one takes new connections; within {drain_seconds} s the old one sends its clients over")
    await until_alone(admin, epoch)
    say(f"envoy: the old one has nothing left to do; it ends {overlap_seconds:.0f} s after the new one began")


async def until_alone(admin: EnvoyAdmin, epoch: int) -> None:
    """Until the Envoy that has taken over knows of no connections to the one before. It asks every few seconds, and
    notes its uptime when it does, so what it knew at first does not count. Raises HotRestartError if it is gone, and
    what EnvoyAdmin raises."""
    asked = await admin.stat("server.uptime")
    while True:
        if (await admin.server()).epoch != epoch:
            raise HotRestartError("The new Envoy ended; a fresh one serves now, and the old one finishes its streams.")
        if await admin.stat("server.uptime") > asked and not await admin.stat("server.parent_connections"):
            return
        await asyncio.sleep(LOOK_SECONDS)


async def shut(admin: EnvoyAdmin, *, patience_seconds: float) -> None:
    """Closes the front door, and lets the calls end that have begun; those that take longer go on.

    Raises OSError or EOFError if Envoy does not answer.
    """
    await admin.drain()
    await until_no_call(admin, patience_seconds=patience_seconds)


async def until_no_call(admin: EnvoyAdmin, *, patience_seconds: float) -> None:
    """Until no call goes through the front door, or that time is over. Raises OSError or EOFError if Envoy does not
    answer."""
    end = time.monotonic() + patience_seconds
    while True:
        if not await admin.stat("http.front.downstream_rq_active") or time.monotonic() > end:
            return
        await asyncio.sleep(LOOK_SECONDS)

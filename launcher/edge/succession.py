"""Replaces the mesh's Envoy by another one that takes over from it."""

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress

from launcher.control.fleet import FleetError
from launcher.edge.admin import EnvoyAdmin
from launcher.edge.hot_restart import SPARE_SECONDS, HotRestart, HotRestartError, replaced, shut, until_no_call
from launcher.processes.keeper import GaveUpError
from launcher.processes.readiness import Probe
from launcher.processes.supervisor import Supervisor

ENVOY = "envoy"
OLD_ENVOY = "envoy-old"
"""What the one before is called while it finishes its streams; envoy-old-2, if there is another such one."""
LAST_WORDS_SECONDS = 0.5
"""For what agents say to the callers whose calls they cut: it has to get through the gateway and Envoy."""
START_SECONDS = 60.0
"""One that does not serve by then, on a machine however busy, will not."""


class EnvoySuccession:
    """The Envoys of the mesh that a supervisor runs, one after the other."""

    def __init__(self, *, supervisor: Supervisor, hot_restart: HotRestart, admin: EnvoyAdmin) -> None:
        self._supervisor = supervisor
        self._hot_restart = hot_restart
        self._admin = admin
        self._going_on = asyncio.Lock()

    async def replace(self, say: Callable[[str], None]) -> None:
        """Returns when the old one has nothing left to do. Raises FleetError; then the old one goes on."""
        if self._going_on.locked():
            raise FleetError("Envoy is being replaced already; `shoal ps` shows how far that is.")
        async with self._going_on:
            try:
                await replaced(self._hot_restart, self._admin, start=self._start, say=say)
            except HotRestartError as error:
                raise FleetError(str(error)) from None
            except (OSError, EOFError) as error:
                raise FleetError(
                    f"Envoy does not answer on its admin port ({error}); `shoal ps` shows whether it is there."
                ) from None

    async def shut(self, *, patience_seconds: float) -> None:
        """Closes the front door and lets the calls end that have begun. Those that take longer are ended by the agents,
        as long as there is a gateway and an Envoy to tell the callers. An Envoy that does not answer is not waited for.
        """
        if self._supervisor.keepers[ENVOY].child is None:
            return  # Whoever may answer in its place is another's.
        with suppress(OSError, EOFError):
            await shut(self._admin, patience_seconds=patience_seconds)
            await self._supervisor.cut("agent")
            await until_no_call(self._admin, patience_seconds=LAST_WORDS_SECONDS)

    async def _start(self, command: Sequence[str], probe: Probe) -> None:
        envoy = self._supervisor.keepers[ENVOY].process
        successor = dataclasses.replace(envoy, command=command, probes=[probe])
        # The new one ends the old one itself, and must not be without it before.
        patience = self._hot_restart.overlap_seconds + SPARE_SECONDS
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._supervisor.hand_over(ENVOY, successor, aside=self._aside(), patience_seconds=patience)
        except (GaveUpError, TimeoutError):
            raise HotRestartError(
                "The new Envoy did not get to serve; its log says why. The old one goes on, but no other can take over "
                "from it any more: stop the mesh and start it again when you can."
            ) from None

    def _aside(self) -> str:
        names = itertools.chain([OLD_ENVOY], (f"{OLD_ENVOY}-{number}" for number in itertools.count(2)))
        return next(name for name in names if name not in self._supervisor.keepers)

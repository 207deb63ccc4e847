"""Replaces the mesh's Envoy by another one that takes over from it."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence

from launcher.control.fleet import FleetError
from launcher.envoy_admin import EnvoyAdmin
from launcher.envoy_life import EnvoyLifeError, EnvoyLives, replaced
from launcher.keeper import GaveUpError
from launcher.readiness import Probe
from launcher.supervisor import Supervisor

ENVOY = "envoy"
OLD_ENVOY = "envoy-old"
"""What the one before is called while it finishes its streams."""


class EnvoySuccession:
    """The Envoys of the mesh that a supervisor runs, one after the other."""

    def __init__(self, *, supervisor: Supervisor, lives: EnvoyLives, admin: EnvoyAdmin) -> None:
        self._supervisor = supervisor
        self._lives = lives
        self._admin = admin
        self._going_on = asyncio.Lock()

    async def replace(self, say: Callable[[str], None]) -> None:
        """Returns when the old one has nothing left to do. Raises FleetError; then the old one goes on."""
        if self._going_on.locked():
            raise FleetError("Envoy is being replaced already; `shoal ps` shows how far that is.")
        async with self._going_on:
            try:
                await replaced(self._lives, self._admin, start=self._start, say=say)
            except EnvoyLifeError as error:
                raise FleetError(str(error)) from None
            except (OSError, EOFError) as error:
                raise FleetError(f"Envoy does not answer on its admin port: {error}") from None

    async def _start(self, command: Sequence[str], probe: Probe) -> None:
        envoy = self._supervisor.keepers[ENVOY].process
        successor = dataclasses.replace(envoy, command=command, probes=[probe])
        try:
            await self._supervisor.hand_over(ENVOY, successor, aside=OLD_ENVOY)
        except GaveUpError:
            raise EnvoyLifeError(
                "The new Envoy ended before it served; its log says why. The old one goes on, but no other can take "
                "over from it any more: stop the mesh and start it again when you can."
            ) from None

"""The running mesh as those see it who look at it and change it."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

State = Literal["starting", "ready", "draining", "down"]
InEnvoy = Literal["healthy", "unhealthy", "draining", "absent", ""]
"""Empty for what is not behind Envoy."""


class FleetError(Exception):
    """The change cannot be made; the message says why and what to do."""


class ProcessRow(msgspec.Struct, frozen=True, kw_only=True):
    """A process of the mesh as it is now."""

    name: str
    service: str
    """The service that it is a replica of, or its own name if it is no replica."""
    pid: int | None
    port: int
    state: State
    in_envoy: InEnvoy
    """How Envoy sees it."""
    running: int | None
    """Calls in progress. This, `waiting` and `slots` are None where the process does not tell."""
    waiting: int | None
    """Calls that wait for a slot."""
    slots: int | None
    """How many calls it works on at once; None too where there is no bound."""
    version: str
    uptime_seconds: float
    restarts: int
    """How often it was started again after it had died."""
    memory_bytes: int | None
    """Resident memory."""


class Fleet(Protocol):
    """Changes of the running mesh. `say` is told of the progress of a change, line by line."""

    async def scale(self, service: str, replicas: int, say: Callable[[str], None]) -> None:
        """Returns when new replicas take calls and those that leave have ended. Raises FleetError."""

    async def restart(self, service: str, say: Callable[[str], None]) -> None:
        """Replaces every process of the service, one at a time. Raises FleetError."""


class View(Protocol):
    """The running mesh as those see it who change nothing."""

    async def processes(self) -> Sequence[ProcessRow]:
        """Every process of the mesh, in the order in which they depend on each other."""

"""What a mesh is made of: programs that run once, programs that are kept running, and the order in which they stop."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from launcher.processes.readiness import Probe


class StopStage(Enum):
    """The stages of an orderly stop in their order, with the seconds that each may take before it is cut short.

    Before them, running calls have had SHOAL_DRAIN_SECONDS to end, 5 by default; the whole mesh must be gone within 10.
    """

    DOOR = 1, 0.5
    SERVICES = 2, 2.5
    BACKING = 3, 0.5

    @property
    def patience_seconds(self) -> float:
        return self.value[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A program that runs once and to its end before what needs it can start."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    """What is added to our own environment."""
    needs: Sequence[str] = ()
    dispensable: bool = False
    """Whether the mesh is of use even if this fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A program that is kept running."""

    name: str
    command: Sequence[str]
    probes: Sequence[Probe]
    """It is ready when all of them pass."""
    ports: Mapping[str, int]
    """The ports it listens on, by the name of the setting that places them."""
    stage: StopStage
    environment: Mapping[str, str] = field(default_factory=dict)
    """What is added to our own environment."""
    needs: Sequence[str] = ()
    service: str = ""
    """The service that it is a replica of; empty for programs that are not ours."""
    number: int = 1
    """Its place in the row of ports of its service."""
    version: Callable[[], str] = str
    """Which version would start now; empty if nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole mesh."""

    steps: Sequence[Step]
    processes: Sequence[Process]

    def names(self) -> list[str]:
        return [step.name for step in self.steps] + [process.name for process in self.processes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """The programs that processes run."""

    shoal: Path
    envoy: Path
    valkey: Path

"""Those that are compared: how each is started, and how it is asked."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import psutil

from launcher.processes.readiness import Probe
from load.measuring.home import Home
from load.peers import processes
from load.peers.asking import Answers, Ask, Kind

_STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Grpc:
    """Where the RPC of cached answers is served."""

    address: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Running:
    """One that answers."""

    asks: Mapping[Kind, Ask]
    """How it is asked for answers of each kind; one that it does not have is missing."""
    pid: int
    first_answer_seconds: float | None
    """From its start; None if it answers no completions."""
    grpc: Grpc | None = None
    """None if it does not speak gRPC."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those that are compared."""

    name: str
    start: Callable[[Home, str], AbstractAsyncContextManager[Running]]
    """Given a folder and the base address of the model's API, it runs until the end of the context."""


@asynccontextmanager
async def started(
    home: Home, name: str, command: Sequence[str], environment: Mapping[str, str], asks: Mapping[Kind, Ask]
) -> AsyncIterator[Running]:
    """A process that is ready when it has answered its first completion."""
    began = time.monotonic()
    async with with_descendants(home, name, command, environment, Answers(asks["computed"])) as pid:
        yield Running(asks, pid, time.monotonic() - began)


@asynccontextmanager
async def with_descendants(
    home: Home, name: str, command: Sequence[str], environment: Mapping[str, str], ready: Probe
) -> AsyncIterator[int]:
    """The process, once it is ready; yields its id. In the end it and all that descended from it are gone."""
    family: list[psutil.Process] = []
    try:
        async with home.running(name, command, environment, ready, stop_seconds=_STOP_SECONDS) as pid:
            try:
                yield pid
            finally:
                family = processes.tree(pid)
    finally:
        await processes.ended(family)

"""One process that is kept running: started, watched, started again when it dies, and in the end let go."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum

from launcher.console import Console
from launcher.processes.backoff import Backoff
from launcher.processes.child import Child, describe_exit
from launcher.processes.plan import Process
from launcher.processes.readiness import until_ready

MOST_EARLY_DEATHS = 3
"""A process that dies more often than this before it was ever ready is given up."""
SLOW_SECONDS = 20.0
"""Who is not ready by then is mentioned, with its log."""


class GaveUpError(Exception):
    """The process does not get ready. What was wrong has been said already."""


class State(StrEnum):
    """What a process is doing now."""

    STARTING = "starting"
    READY = "ready"
    DOWN = "down"


class Keeper:
    """Keeps one process running until it is let go. Its methods belong to one event loop."""

    def __init__(
        self,
        process: Process,
        *,
        start: Callable[[Process], Awaitable[Child]],
        console: Console,
        changed: Callable[["Keeper"], None],
        early_deaths: int = MOST_EARLY_DEATHS,
    ) -> None:
        """`start` raises OSError if there is nothing to start. `changed` is told of every change of `state`.
        `early_deaths` are forgiven before it was ever ready."""
        self.process = process
        self.state = State.DOWN
        self.restarts = 0
        self.was_ready = asyncio.Event()
        """Set for ever when the process is ready for the first time."""
        self.child: Child | None = None
        """The life that it lives now; None in between."""
        self.version = ""
        """What was installed when this life began."""
        self._start = start
        self._console = console
        self._changed = changed
        self._early_deaths = early_deaths
        self._began = 0.0
        self._lived = 0.0
        self._released = asyncio.Event()
        self._ended = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return self.child.pid if self.child else None

    @property
    def uptime_seconds(self) -> float:
        """How long it has lived this time; 0 in between."""
        return time.monotonic() - self._began if self.child else 0.0

    @property
    def is_leaving(self) -> bool:
        """Whether it is not started again when it ends."""
        return self._released.is_set()

    async def run(self) -> None:
        """Starts the process again and again, until it was let go and has ended. Raises GaveUpError if it never got
        ready."""
        backoff = Backoff()
        deaths = 0
        try:
            while not self._released.is_set():
                end, last_lines = await self._live()
                if self._released.is_set():
                    break
                deaths += 1
                await self._recover(end, last_lines, deaths, delay=backoff.after(self._lived))
        finally:
            self._ended.set()

    def release(self) -> None:
        """Lets the process end when it likes; it is not started again."""
        self._released.set()

    async def end(self, *, patience_seconds: float) -> None:
        """Lets the process go: SIGTERM, and SIGKILL if it is still there after that time. Returns when it has ended."""
        self.release()
        if self.child:
            self.child.terminate()
        await self.leave(patience_seconds=patience_seconds)

    async def leave(self, *, patience_seconds: float) -> None:
        """The same without SIGTERM: it ends when it likes, or when its time is over."""
        self.release()
        if not await within(patience_seconds, self._ended.wait()) and self.child:
            self.child.kill()
        await self._ended.wait()

    async def _live(self) -> tuple[str, list[str]]:
        """From start to death, with the news of its readiness in between. Returns how it ended and its last words."""
        self._began, self._lived = time.monotonic(), 0.0
        self.version = self.process.version()
        try:
            self.child = child = await self._start(self.process)
        except OSError as error:
            # The program may be there again in a moment, when an installation is done.
            return f"cannot be started: {error}", []
        if self._released.is_set():
            # Let go while it was being started, so that nobody had anything to end.
            child.kill()
        self._enter(State.STARTING)
        greeting = asyncio.create_task(self._greet(child))
        try:
            code = await child.wait()
        finally:
            greeting.cancel()
        self._lived = self.uptime_seconds
        self.child = None
        self._enter(State.DOWN)
        return f"ended with {describe_exit(code)}", child.last_lines()

    async def _greet(self, child: Child) -> None:
        """Says when the process is ready, and now and then that it is not yet."""
        name = self.process.name
        while not await within(SLOW_SECONDS, until_ready(self.process.probes)):
            news = f"not ready after {self.uptime_seconds:.0f} s, still waiting"
            self._console.trouble(name, news, child.last_lines())
        again = "again " if self.was_ready.is_set() else ""
        self._console.progress(name, f"ready {again}after {self.uptime_seconds:.1f} s")
        self._enter(State.READY)
        self.was_ready.set()

    async def _recover(self, end: str, last_lines: list[str], deaths: int, *, delay: float) -> None:
        given_up = deaths > self._early_deaths and not self.was_ready.is_set()
        outlook = "it never got ready and is given up" if given_up else f"starting again in {delay:.1f} s"
        self._console.trouble(self.process.name, f"{end}; {outlook}", last_lines)
        if given_up:
            raise GaveUpError
        self.restarts += 1
        await within(delay, self._released.wait())

    def _enter(self, state: State) -> None:
        self.state = state
        self._changed(self)


async def within(seconds: float, work: Awaitable[object]) -> bool:
    """Whether the work was done in that time; it is cancelled if not."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        return False
    return True

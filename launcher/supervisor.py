"""Starts the processes of a plan as soon as what they need is ready, keeps them running, and stops them in order."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

from launcher.backoff import Backoff
from launcher.child import Child, describe_exit
from launcher.console import Console
from launcher.home import Home, rotate
from launcher.plan import Plan, Process, Step, StopStage
from launcher.process_table import ProcessTable
from launcher.readiness import until_ready

MOST_EARLY_DEATHS = 3
"""A process that dies more often than this before it was ever ready is given up, and the mesh with it."""
SLOW_SECONDS = 20.0
"""Who is not ready by then is mentioned, with its log."""


class GaveUpError(Exception):
    """The mesh cannot start. What was wrong has been said already."""


class Supervisor:
    """Runs one plan once. Its methods belong to one event loop."""

    def __init__(self, plan: Plan, *, environ: Mapping[str, str], home: Home, console: Console) -> None:
        self._plan = plan
        self._environ = environ
        self._home = home
        self._console = console
        self._ready = {name: asyncio.Event() for name in plan.names()}
        self._children: dict[str, Child] = {}
        self._table = ProcessTable(home.processes_file)

    async def run(self, *, until: asyncio.Event, when_ready: Callable[[], None]) -> None:
        """Runs the mesh until the event is set, and stops it before it returns, whatever happened.

        `when_ready` is called once, when everything is. Raises GaveUpError.
        """
        work = [self._perform(step) for step in self._plan.steps]
        work += [self._keep(process) for process in self._plan.processes]
        work.append(self._announce(when_ready))
        try:
            await _together(work, until=until)
        finally:
            await self._stop()

    def kill(self) -> None:
        """Cuts an orderly stop short."""
        for child in self._children.values():
            child.kill()

    async def _announce(self, when_ready: Callable[[], None]) -> None:
        await self._all_ready(self._ready)
        when_ready()

    async def _perform(self, step: Step) -> None:
        """Runs a step to its end. Raises GaveUpError if it failed and cannot be done without."""
        await self._all_ready(step.needs)
        began = time.monotonic()
        child = await self._start(step)
        code = await self._end_of(step, child)
        if code == 0:
            self._console.progress(step.name, f"done after {time.monotonic() - began:.1f} s")
        else:
            self._console.trouble(step.name, f"failed with {describe_exit(code)}", child.last_lines())
            if not step.dispensable:
                raise GaveUpError
        self._ready[step.name].set()

    async def _keep(self, process: Process) -> None:
        """Starts a process again and again, for ever. Raises GaveUpError if it never got ready."""
        await self._all_ready(process.needs)
        backoff = Backoff()
        for deaths in itertools.count(1):
            began = time.monotonic()
            child = await self._start(process)
            code = await self._live(process, child, began)
            delay = backoff.after(time.monotonic() - began)
            given_up = deaths > MOST_EARLY_DEATHS and not self._ready[process.name].is_set()
            outlook = "it never got ready, so the mesh cannot start" if given_up else f"starting again in {delay:.1f} s"
            self._console.trouble(process.name, f"ended with {describe_exit(code)}; {outlook}", child.last_lines())
            if given_up:
                raise GaveUpError
            await asyncio.sleep(delay)

    async def _live(self, process: Process, child: Child, began: float) -> int:
        """From start to death, with the news of its readiness in between. Returns the exit code."""
        self._table.enter(process, child.pid)
        greeting = asyncio.create_task(self._greet(process, child, began))
        try:
            code = await self._end_of(process, child)
        finally:
            greeting.cancel()
        self._table.leave(process)
        return code

    async def _greet(self, process: Process, child: Child, began: float) -> None:
        """Says when the process is ready, and now and then that it is not yet."""
        while not await _within(SLOW_SECONDS, until_ready(process.probes)):
            waited = time.monotonic() - began
            self._console.trouble(process.name, f"not ready after {waited:.0f} s, still waiting", child.last_lines())
        again = "again " if self._ready[process.name].is_set() else ""
        self._console.progress(process.name, f"ready {again}after {time.monotonic() - began:.1f} s")
        self._ready[process.name].set()

    async def _start(self, item: Step | Process) -> Child:
        log = self._home.log_of(item.name)
        rotate(log)
        try:
            child = await Child.start(item.command, environment={**self._environ, **item.environment}, log=log)
        except OSError as error:
            self._console.trouble(item.name, f"cannot be started: {error}")
            raise GaveUpError from error
        self._children[item.name] = child
        return child

    async def _end_of(self, item: Step | Process, child: Child) -> int:
        code = await child.wait()
        del self._children[item.name]
        return code

    async def _all_ready(self, names: Iterable[str]) -> None:
        for name in names:
            await self._ready[name].wait()

    async def _stop(self) -> None:
        stages = {process.name: process.stage for process in self._plan.processes}
        for stage in StopStage:
            # A step that still runs goes first.
            names = [name for name in self._children if stages.get(name, StopStage.DOOR) is stage]
            await _stop_children([self._children[name] for name in names], stage.patience_seconds)
        self._table.remove()


async def _together(work: Iterable[Coroutine[None, None, None]], *, until: asyncio.Event) -> None:
    """Runs the work until the event is set, and raises the first failure among it before."""
    tasks = {asyncio.create_task(item) for item in work}
    end = asyncio.create_task(until.wait())
    pending: set[asyncio.Task[Any]] = {*tasks, end}
    try:
        while end in pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _within(seconds: float, work: Awaitable[None]) -> bool:
    """Whether the work was done in that time."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        return False
    return True


async def _stop_children(children: Iterable[Child], patience_seconds: float) -> None:
    """SIGTERM to all, and SIGKILL to those that are still there after the given time."""
    ends = {asyncio.create_task(child.wait()): child for child in children}
    if not ends:
        return
    for child in ends.values():
        child.terminate()
    _, stubborn = await asyncio.wait(ends, timeout=patience_seconds)
    for end in stubborn:
        ends[end].kill()
    await asyncio.gather(*ends)

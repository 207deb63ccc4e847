"""Starts the processes of a plan as soon as what they need is ready, keeps them running, and stops them in order."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

from launcher.console import Console
from launcher.home import Home, rotate
from launcher.processes.child import Child, describe_exit
from launcher.processes.keeper import MOST_EARLY_DEATHS, GaveUpError, Keeper
from launcher.processes.plan import Plan, Process, Step, StopStage
from launcher.processes.table import ProcessTable

CUT_SECONDS = 1.0
"""How long the replicas of a service may take to end when the mesh waits no longer for their calls."""


class Supervisor:
    """Runs one plan once, and what is added to it meanwhile. Its methods belong to one event loop."""

    def __init__(
        self,
        plan: Plan,
        *,
        environ: Mapping[str, str],
        home: Home,
        console: Console,
    ) -> None:
        self._plan = plan
        self._environ = environ
        self._home = home
        self._console = console
        self.listeners: list[Callable[[Keeper], None]] = []
        """They are told whenever a process starts, gets ready or is gone. An OSError of theirs is said and no more."""
        self.was_ready = asyncio.Event()
        """Set for ever when all of the plan has been ready; until then nothing of it may be retired."""
        self._done = {step.name: asyncio.Event() for step in plan.steps}
        self._children: dict[str, Child] = {}
        self._added: set[asyncio.Task[None]] = set()
        self._table = ProcessTable(home.processes_file)
        self.keepers = {process.name: self._keeper(process) for process in plan.processes}

    async def run(
        self,
        *,
        until: asyncio.Event,
        when_ready: Callable[[], None],
        beside: Iterable[Coroutine[None, None, None]] = (),
        before_stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Runs the mesh until the event is set, and stops it before it returns, whatever happened.

        `when_ready` is called once, when everything is; what is `beside` runs as long as the mesh; `before_stop` is
        awaited before the stop. Raises GaveUpError.
        """
        work = [self._perform(step) for step in self._plan.steps]
        work += [self._keep_planned(keeper) for keeper in self.keepers.values()]
        work.append(self._announce(when_ready))
        try:
            try:
                await _together([*work, *beside], until=until)
            finally:
                await self._let_go()
                if before_stop:
                    await before_stop()
        finally:
            await self._stop()

    async def add(self, process: Process, *, early_deaths: int = MOST_EARLY_DEATHS) -> Keeper:
        """Keeps one more process running. Returns when it is ready for the first time.

        Raises GaveUpError if it does not get ready, having died more often than `early_deaths`; then it is gone again.
        """
        keeper = self.keepers[process.name] = self._keeper(process, early_deaths=early_deaths)
        life = self._begin(keeper.run())
        ready = asyncio.create_task(keeper.was_ready.wait())
        try:
            await asyncio.wait({life, ready}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.retire(keeper, patience_seconds=0)
            raise
        finally:
            ready.cancel()
        if life.done():
            del self.keepers[process.name]
            life.result()
        return keeper

    async def hand_over(self, name: str, successor: Process, *, aside: str, patience_seconds: float) -> None:
        """Has another process take over the name from one that runs, which is called `aside` from then on and ends when
        it likes, or is killed after that time. If the successor dies later, what is started again is the process that
        had the name before.

        Raises GaveUpError if the successor ends before it is ready; then all is as it was.
        """
        keeper = self.keepers[name]
        lasting = keeper.process
        self._rename(keeper, aside)
        try:
            new = await self.add(successor, early_deaths=0)
        except BaseException:
            self._rename(keeper, name)
            raise
        keeper.release()
        new.process = lasting
        self._begin(keeper.leave(patience_seconds=patience_seconds))

    async def retire(self, keeper: Keeper, *, patience_seconds: float) -> None:
        """Ends a process for good."""
        await keeper.end(patience_seconds=patience_seconds)
        self.keepers.pop(keeper.process.name, None)

    async def cut(self, service: str) -> None:
        """Ends the replicas of a service, whatever they still do. Only for `before_stop`: before, they would start
        again."""
        names = [keeper.process.name for keeper in self.keepers.values() if keeper.process.service == service]
        children = [self._children[name] for name in names if name in self._children]
        await _end(children, hurry=True, patience_seconds=CUT_SECONDS)

    def kill(self) -> None:
        """Cuts an orderly stop short."""
        for child in list(self._children.values()):
            child.kill()

    def _keeper(self, process: Process, *, early_deaths: int = MOST_EARLY_DEATHS) -> Keeper:
        return Keeper(
            process, start=self._start, console=self._console, changed=self._changed, early_deaths=early_deaths
        )

    def _begin(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        """Goes on until it is done or the mesh stops."""
        task = asyncio.create_task(work)
        self._added.add(task)
        task.add_done_callback(self._added.discard)
        return task

    def _rename(self, keeper: Keeper, name: str) -> None:
        before = keeper.process.name
        self._table.leave(keeper.process)
        keeper.process = dataclasses.replace(keeper.process, name=name)
        self.keepers[name] = self.keepers.pop(before)
        if keeper.child:
            self._children[name] = self._children.pop(before)
            self._table.enter(keeper.process, keeper.child.pid)

    def _changed(self, keeper: Keeper) -> None:
        if keeper.child is None:
            self._children.pop(keeper.process.name, None)
            if keeper.is_leaving:
                self.keepers.pop(keeper.process.name, None)
        for tell in (self._note, *self.listeners):
            try:
                tell(keeper)
            except OSError as error:
                # A full disk is no reason to stop what runs.
                self._console.trouble(keeper.process.name, f"that it is {keeper.state} could not be written: {error}")

    def _note(self, keeper: Keeper) -> None:
        if keeper.child:
            self._table.enter(keeper.process, keeper.child.pid)
        else:
            self._table.leave(keeper.process)

    async def _announce(self, when_ready: Callable[[], None]) -> None:
        await self._all_ready([*self._done, *(process.name for process in self._plan.processes)])
        self.was_ready.set()
        when_ready()

    async def _perform(self, step: Step) -> None:
        """Runs a step to its end. Raises GaveUpError if it failed and cannot be done without."""
        await self._all_ready(step.needs)
        began = time.monotonic()
        try:
            child = await self._start(step)
        except OSError as error:
            self._console.trouble(step.name, f"cannot be started: {error}")
            raise GaveUpError from error
        code = await child.wait()
        del self._children[step.name]
        if code == 0:
            self._console.progress(step.name, f"done after {time.monotonic() - began:.1f} s")
        else:
            self._console.trouble(step.name, f"failed with {describe_exit(code)}", child.last_lines())
            if not step.dispensable:
                raise GaveUpError
        self._done[step.name].set()

    async def _keep_planned(self, keeper: Keeper) -> None:
        await self._all_ready(keeper.process.needs)
        await keeper.run()

    async def _start(self, item: Step | Process) -> Child:
        """Raises OSError."""
        log = self._home.log_of(item.name)
        rotate(log)
        child = await Child.start(item.command, environment={**self._environ, **item.environment}, log=log)
        self._children[item.name] = child
        return child

    async def _all_ready(self, names: Iterable[str]) -> None:
        for name in names:
            ready = self._done[name] if name in self._done else self.keepers[name].was_ready
            await ready.wait()

    async def _let_go(self) -> None:
        """From here on a process that ends is not started again. Those that were planned are let go by now."""
        for task in self._added:
            task.cancel()
        await asyncio.gather(*self._added, return_exceptions=True)

    async def _stop(self) -> None:
        stages = {keeper.process.name: keeper.process.stage for keeper in self.keepers.values()}
        for stage in StopStage:
            # A step that still runs goes first.
            names = [name for name in self._children if stages.get(name, StopStage.DOOR) is stage]
            # Behind a shut door there is nothing left for services to wait for.
            await _end(
                [self._children[name] for name in names],
                hurry=stage is StopStage.SERVICES,
                patience_seconds=stage.patience_seconds,
            )
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


async def _end(children: Iterable[Child], *, hurry: bool, patience_seconds: float) -> None:
    """SIGTERM to all, and SIGKILL to those that are still there after that time. In a hurry, they wait for no calls."""
    ends = {asyncio.create_task(child.wait()): child for child in children}
    if not ends:
        return
    for child in ends.values():
        child.terminate()
        if hurry:
            child.hurry()
    _, stubborn = await asyncio.wait(ends, timeout=patience_seconds)
    for end in stubborn:
        ends[end].kill()
    await asyncio.gather(*ends)

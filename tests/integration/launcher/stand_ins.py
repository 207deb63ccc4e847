"""Small programs in the place of the mesh's, under a real supervisor."""

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from launcher.console import Console
from launcher.home import Home
from launcher.processes.plan import Plan, Process, Step, StopStage
from launcher.processes.readiness import HttpOk
from launcher.processes.supervisor import Supervisor
from load.measuring.ports import free_port

SERVER = """
import http.server, sys
class Ok(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
print("I am here", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ok).serve_forever()
"""
STUBBORN_SERVER = (
    """
import signal
signal.signal(signal.SIGTERM, lambda *_: print("I stay", flush=True))
signal.signal(signal.SIGINT, signal.SIG_IGN)
"""
    + SERVER
)
PARENT_SERVER = (
    """
import subprocess
print("child", subprocess.Popen(["sleep", "1000"]).pid, flush=True)
"""
    + SERVER
)


def process(
    name: str, *, program: str = SERVER, needs: Sequence[str] = (), stage: StopStage = StopStage.SERVICES
) -> Process:
    port = free_port()
    return Process(
        name=name,
        command=(sys.executable, "-c", program, str(port)),
        probes=[HttpOk(port, "/")],
        ports={"port": port},
        needs=needs,
        stage=stage,
    )


def step(name: str, *, program: str = "", needs: Sequence[str] = (), dispensable: bool = False) -> Step:
    return Step(
        name=name, command=(sys.executable, "-c", program), environment={}, needs=needs, dispensable=dispensable
    )


class Run:
    """A supervisor at work on a plan of stand-ins."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.home = Home(folder)
        self.home.prepare()
        self._said = io.StringIO()
        self.stop = asyncio.Event()
        self.ready = asyncio.Event()
        self.supervisor = Supervisor(plan, environ={}, home=self.home, console=Console(self._said))

    async def to_its_end(self) -> None:
        await self.supervisor.run(until=self.stop, when_ready=self.ready.set)

    @property
    def said(self) -> str:
        return self._said.getvalue()

    def pid(self, name: str) -> int:
        """Of a process that runs now."""
        rows = json.loads(self.home.processes_file.read_text())
        pids: dict[str, int] = {row["name"]: row["pid"] for row in rows}
        return pids[name]

    def log(self, name: str) -> str:
        return self.home.log_of(name).read_text()


@asynccontextmanager
async def running(plan: Plan, folder: Path) -> AsyncIterator[Run]:
    """Yields when everything is ready, and stops in the end."""
    async with at_work(Run(plan, folder)) as run:
        yield run


@asynccontextmanager
async def at_work(run: Run) -> AsyncIterator[Run]:
    """The same with a run that was prepared."""
    work = asyncio.create_task(run.to_its_end())
    ready = asyncio.create_task(run.ready.wait())
    await asyncio.wait({work, ready}, return_when=asyncio.FIRST_COMPLETED)
    try:
        assert run.ready.is_set(), run.said
        yield run
    finally:
        ready.cancel()
        run.stop.set()
        await work


async def until(condition: Callable[[], bool], what: str) -> None:
    """Polls until the condition holds; fails with what was waited for."""
    try:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - other processes set no events of ours
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what} did not happen") from None


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False

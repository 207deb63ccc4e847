"""A fleet that does what a test tells it to, behind a real control socket."""

import asyncio
from collections.abc import Callable

from launcher.control.fleet import ProcessRow

AGENT = ProcessRow(
    name="agent-1", service="agent", pid=4242, port=8121, state="ready", in_envoy="healthy", running=12, waiting=0,
    slots=128, version="0.1.0", uptime_seconds=75.0, restarts=0, memory_bytes=2**27,
)  # fmt: skip


class ScriptedFleet:
    """Remembers what it was asked for. A change says two lines: one as it begins, one when it may go on."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, ...]] = []
        self.done: list[tuple[str, ...]] = []
        self.cut_short: list[tuple[str, ...]] = []
        self.failure: Exception | None = None
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def scale(self, service: str, replicas: int, say: Callable[[str], None]) -> None:
        await self._change(("scale", service, str(replicas)), say)

    async def restart(self, service: str, say: Callable[[str], None]) -> None:
        await self._change(("restart", service), say)

    async def processes(self) -> list[ProcessRow]:
        if self.failure:
            raise self.failure
        return [AGENT]

    async def _change(self, what: tuple[str, ...], say: Callable[[str], None]) -> None:
        self.begun.append(what)
        say(f"{' '.join(what)}: begun")
        try:
            await self.may_go_on.wait()
        except asyncio.CancelledError:
            self.cut_short.append(what)
            raise
        if self.failure:
            raise self.failure
        say(f"{' '.join(what)}: half-way")
        self.done.append(what)

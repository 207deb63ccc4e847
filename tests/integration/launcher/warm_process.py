"""`shoal cache warm` as a process, against a front door that does as the test says."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from launcher.processes import binaries

KEY = "sk-shoal-of-the-test"
KEPT = {
    "output": "Yes.",
    "finish_reason": "stop",
    "usage": {"input_tokens": 3, "output_tokens": 4, "cost_usd": 0.5},
    "cache": {"status": "miss", "ttl_seconds": 99},
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Door:
    """A front door that keeps every answer for 99 s. It answers as many tasks as were let in, the others wait."""

    url: str
    let_in: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)

    async def post(self, request: web.Request) -> web.Response:
        self.keys.add(request.headers.get("X-API-Key"))
        self.bodies.append(await request.json())
        await self.let_in.acquire()
        return web.json_response(KEPT)

    def open(self, tasks: int = 1000) -> None:
        for _ in range(tasks):
            self.let_in.release()

    def tasks(self) -> list[str]:
        return [body["task"] for body in self.bodies]


@asynccontextmanager
async def front_door() -> AsyncIterator[Door]:
    door = Door("")
    app = web.Application()
    app.router.add_post("/api/v1/task", door.post)
    app.router.add_get("/health", _alive)
    runner = web.AppRunner(app, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    door.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield door
    finally:
        door.open()
        await runner.cleanup()


async def _alive(_request: web.Request) -> web.Response:
    return web.Response()


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


def tasks_file(folder: Path, *tasks: Any) -> Path:
    path = folder / "tasks.jsonl"
    path.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    (folder / "key").write_text(KEY + "\n")
    return path


async def started(door: Door, file: Path, *options: str) -> asyncio.subprocess.Process:
    """The command at work on a file that `tasks_file` wrote."""
    told = ("--url", door.url, "--api-key-file", str(file.with_name("key")), *options)
    return await asyncio.create_subprocess_exec(
        binaries.shoal(), "cache", "warm", str(file), *told,
        env={name: value for name, value in os.environ.items() if not name.startswith("SHOAL_")},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def end_of(process: asyncio.subprocess.Process) -> Ended:
    async with asyncio.timeout(60):
        stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, stdout.decode(), stderr.decode())


async def warmed(door: Door, file: Path, *options: str) -> Ended:
    return await end_of(await started(door, file, *options))

"""The simulated model as a process of its own, for tests that need a model behind a real address."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import openai

BOUND_SECONDS = 30


@dataclass(frozen=True)
class ModelProcess:
    """A running simulated model."""

    process: subprocess.Popen[str]
    url: str

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It keeps its connections, and says nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@dataclass(frozen=True)
class Server:
    """A running simulated model, OpenAI's client to it (without retries) and a plain one for the other endpoints."""

    process: subprocess.Popen[str]
    url: str
    client: openai.AsyncOpenAI
    http: httpx.AsyncClient

    async def calls(self) -> dict[str, Any]:
        return dict((await self.http.get("/calls")).json())

    async def calls_reach(self, **expected: int) -> None:
        """Wait until the counts are these."""
        async with asyncio.timeout(BOUND_SECONDS):
            while not expected.items() <= (await self.calls()).items():
                pass

    async def count_anew(self) -> None:
        """Forget the calls there were, as soon as all have ended."""
        await self.calls_reach(concurrent=0, waiting=0)
        await self.http.delete("/calls")


@contextmanager
def model_process(*options: str) -> Iterator[ModelProcess]:
    """Start the program on a free port; stops it at the end."""
    command = [sys.executable, "-m", "load.simulated_model", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield ModelProcess(process, process.stdout.readline().removeprefix("listening on ").strip())
        finally:
            process.kill()


@asynccontextmanager
async def clients_of(model: ModelProcess) -> AsyncIterator[Server]:
    """Clients on the loop of one test."""
    async with (
        openai.AsyncOpenAI(api_key="none", base_url=f"{model.url}/v1", max_retries=0) as client,
        httpx.AsyncClient(base_url=model.url) as http,
    ):
        yield Server(model.process, model.url, client, http)


@asynccontextmanager
async def simulated_model(*options: str) -> AsyncIterator[Server]:
    """A simulated model for one test."""
    with model_process(*options) as model:
        async with clients_of(model) as server:
            yield server

"""A process that is told to stop: what it says of itself meanwhile, and how it is hurried."""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from load.measuring.ports import free_port
from meshkit.channel import open_channel
from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.backends import accepts_connections, wait_until
from tests.integration.meshkit.guarded_server import TIMEOUT_SECONDS
from tests.mesh_identity import SECRET, signed

_PROGRAM = """
import asyncio, os
from meshkit import process
from meshkit.settings import ServiceSettings, load
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.meshkit.guarded_server import AGENT, Agent

async def goes_on(request):
    yield pb.ExecuteStreamResponse(delta=pb.Delta(text="Hel"))
    await asyncio.Event().wait()

async def main():
    async with process.start("agent", load(ServiceSettings, os.environ)) as this:
        server = this.new_server()
        Agent(execute_stream=goes_on).add_to(server)
        await this.serve(server, [AGENT])

asyncio.run(main())
"""
NEVER = "86400"


@dataclass(frozen=True)
class Running:
    """A process whose streams begin and never end."""

    process: "subprocess.Popen[bytes]"
    address: str
    status_url: str

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.status_url) as response:  # noqa: S310 - our own http address
            told: dict[str, Any] = json.load(response)
        return told

    async def becomes(self, **expected: object) -> None:
        """Returns when this is what it says of itself."""
        await asyncio.to_thread(wait_until, lambda: expected.items() <= self.status().items(), f"{expected}")


@contextmanager
def running_process(folder: Path, **settings: str) -> Iterator[Running]:
    secret_file = folder / "mesh_secret"
    secret_file.write_bytes(SECRET)
    port, metrics_port = free_port(), free_port()
    environ = {
        "SHOAL_REPLICA": "agent-1",
        "SHOAL_PORT": str(port),
        "SHOAL_METRICS_PORT": str(metrics_port),
        "SHOAL_MESH_SECRET_FILE": str(secret_file),
        **settings,
    }
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], env=environ) as process:
        try:
            wait_until(lambda: process.poll() is not None or accepts_connections(port), "the start of the process")
            yield Running(process, f"127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}/status")
        finally:
            process.kill()


async def test_it_counts_its_calls_and_says_when_it_drains(tmp_path: Path) -> None:
    settings = {"SHOAL_DRAIN_NOTICE_SECONDS": "0", "SHOAL_DRAIN_SECONDS": NEVER}
    with running_process(tmp_path, **settings) as running:
        await running.becomes(ready=True, draining=False, running=0, waiting=0, slots=None)
        async with open_channel(running.address) as channel:
            streams = [begun(channel), begun(channel)]
            for stream in streams:
                await stream.read()
            await running.becomes(ready=True, draining=False, running=2)
            running.process.terminate()
            await running.becomes(ready=False, draining=True, running=2)
            streams[0].cancel()
            await running.becomes(draining=True, running=1)
            streams[1].cancel()
            assert await asyncio.to_thread(running.process.wait, TIMEOUT_SECONDS) == 0


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("notice", "grace"), [("0", NEVER), (NEVER, "0")], ids=["in the grace", "in the notice"])
async def test_a_second_signal_ends_what_still_runs_at_once(
    tmp_path: Path, again: signal.Signals, notice: str, grace: str
) -> None:
    settings = {"SHOAL_DRAIN_NOTICE_SECONDS": notice, "SHOAL_DRAIN_SECONDS": grace}
    with running_process(tmp_path, **settings) as running:
        async with open_channel(running.address) as channel:
            stream = begun(channel)
            await stream.read()
            running.process.terminate()
            await running.becomes(draining=True, running=1)
            assert not stream.done()
            running.process.send_signal(again)
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await stream.read()
            assert ended.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
            assert await asyncio.to_thread(running.process.wait, TIMEOUT_SECONDS) == 0


def begun(channel: grpc.aio.Channel) -> "grpc.aio.UnaryStreamCall[Any, pb.ExecuteStreamResponse]":
    stub = agent_pb2_grpc.AgentServiceStub(channel)
    return stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed(), timeout=TIMEOUT_SECONDS)

"""A process that is told to stop: what it says of itself meanwhile, and how it is hurried."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from load.measuring.ports import free_port
from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.backends import accepts_connections, wait_until
from tests.integration.meshkit.guarded_server import TIMEOUT_SECONDS, Transport, messages
from tests.mesh_identity import SECRET, signed

_PROGRAM = """
import asyncio, os
from meshkit import process
from meshkit.settings import GrpcServiceSettings, load
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.meshkit.guarded_server import AGENT, Agent

async def goes_on(request):
    yield pb.ExecuteStreamResponse(delta=pb.Delta(text="Hel"))
    if not request.turn.task:
        await asyncio.Event().wait()
    while not os.path.exists(request.turn.task):
        await asyncio.sleep(0.01)
    yield pb.ExecuteStreamResponse(delta=pb.Delta(text="lo"))

async def main():
    async with process.start("agent", load(GrpcServiceSettings, os.environ)) as this:
        server = this.new_server()
        Agent(execute_stream=goes_on).add_to(server)
        await this.serve(server, [AGENT], http1_port=this.settings.http1_port)

asyncio.run(main())
"""
NEVER = "86400"


@dataclass(frozen=True)
class Running:
    """A process whose streams begin, and never end unless the task is a file: then, as soon as there is one."""

    process: "subprocess.Popen[bytes]"
    ports: Mapping[Transport, int]
    status_url: str

    def open(self, transport: Transport) -> grpc.aio.Channel:
        return transport.open(f"127.0.0.1:{self.ports[transport]}")

    def health(self) -> int:
        """The status that Envoy's health check gets."""
        return httpx.get(f"http://127.0.0.1:{self.ports[Transport.HTTP1]}/health").status_code

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.status_url) as response:  # noqa: S310 - our own http address
            told: dict[str, Any] = json.load(response)
        return told

    async def becomes(self, **expected: object) -> None:
        """Returns when this is what it says of itself."""
        await asyncio.to_thread(wait_until, lambda: expected.items() <= self.status().items(), f"{expected}")


@contextmanager
def running_process(folder: Path, settings: Mapping[str, str], *, stderr: int | None = None) -> Iterator[Running]:
    secret_file = folder / "mesh_secret"
    secret_file.write_bytes(SECRET)
    ports, metrics_port = {each: free_port() for each in Transport}, free_port()
    environ = {
        "SHOAL_REPLICA": "agent-1",
        "SHOAL_PORT": str(ports[Transport.GRPC]),
        "SHOAL_HTTP1_PORT": str(ports[Transport.HTTP1]),
        "SHOAL_METRICS_PORT": str(metrics_port),
        "SHOAL_MESH_SECRET_FILE": str(secret_file),
        **settings,
    }
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], env=environ, stderr=stderr) as process:
        try:
            port = ports[Transport.GRPC]  # the last to open
            wait_until(lambda: process.poll() is not None or accepts_connections(port), "the start of the process")
            yield Running(process, ports, f"http://127.0.0.1:{metrics_port}/status")
        finally:
            process.kill()


async def test_it_counts_its_calls_and_says_when_it_drains(transport: Transport, tmp_path: Path) -> None:
    settings = {"SHOAL_DRAIN_NOTICE_SECONDS": "0", "SHOAL_DRAIN_SECONDS": NEVER}
    with running_process(tmp_path, settings) as running:
        await running.becomes(ready=True, draining=False, running=0, waiting=0, slots=None)
        async with running.open(transport) as channel:
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
    transport: Transport, tmp_path: Path, again: signal.Signals, notice: str, grace: str
) -> None:
    settings = {"SHOAL_DRAIN_NOTICE_SECONDS": notice, "SHOAL_DRAIN_SECONDS": grace}
    with running_process(tmp_path, settings) as running:
        async with running.open(transport) as channel:
            stream = begun(channel)
            await stream.read()
            running.process.terminate()
            await running.becomes(draining=True, running=1)
            running.process.send_signal(again)
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await stream.read()
            assert ended.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
            assert await asyncio.to_thread(running.process.wait, TIMEOUT_SECONDS) == 0


async def test_envoy_is_told_before_the_port_closes(tmp_path: Path) -> None:
    settings = {"SHOAL_DRAIN_NOTICE_SECONDS": NEVER, "SHOAL_DRAIN_SECONDS": NEVER}
    with running_process(tmp_path, settings) as running:
        assert running.health() == 200
        running.process.terminate()
        await running.becomes(ready=False, draining=True)
        assert running.health() == 503
        for transport in Transport:
            async with running.open(transport) as channel:  # and calls are taken
                await begun(channel).read()


async def test_what_runs_is_finished_and_nothing_new_begins(transport: Transport, tmp_path: Path) -> None:
    settings = {"SHOAL_DRAIN_NOTICE_SECONDS": "0", "SHOAL_DRAIN_SECONDS": NEVER}
    until = tmp_path / "end"
    with running_process(tmp_path, settings) as running:
        async with running.open(transport) as channel, running.open(Transport.HTTP1) as idle:
            stub: agent_pb2_grpc.AgentServiceAsyncStub = agent_pb2_grpc.AgentServiceStub(idle)
            assert (await stub.Execute(pb.ExecuteRequest(), metadata=signed(), timeout=TIMEOUT_SECONDS)).output
            stream = begun(channel, task=str(until))
            await stream.read()
            running.process.terminate()
            closed = [partial(accepts_connections, port) for port in running.ports.values()]
            await asyncio.to_thread(wait_until, lambda: not any(each() for each in closed), "the end of listening")
            assert running.process.poll() is None
            until.touch()
            assert [response.delta.text async for response in messages(stream)] == ["lo"]
            assert await asyncio.to_thread(running.process.wait, TIMEOUT_SECONDS) == 0


async def test_what_takes_longer_than_the_grace_is_cut_off(transport: Transport, tmp_path: Path) -> None:
    settings = {"SHOAL_DRAIN_NOTICE_SECONDS": "0", "SHOAL_DRAIN_SECONDS": "0.2"}
    with running_process(tmp_path, settings) as running:
        async with running.open(transport) as channel:
            stream = begun(channel)
            await stream.read()
            running.process.terminate()
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await stream.read()
            assert ended.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
            assert await asyncio.to_thread(running.process.wait, TIMEOUT_SECONDS) == 0


@pytest.mark.parametrize("setting", ["SHOAL_PORT", "SHOAL_HTTP1_PORT"])
def test_a_port_that_another_process_has_is_named(setting: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running_process(tmp_path, {setting: str(port)}, stderr=subprocess.PIPE) as running:
            _, said = running.process.communicate(timeout=TIMEOUT_SECONDS)
    assert f"OSError: port {port} on 127.0.0.1 is busy" in said.decode()
    assert running.process.returncode != 0


def begun(channel: grpc.aio.Channel, task: str = "") -> "grpc.aio.UnaryStreamCall[Any, pb.ExecuteStreamResponse]":
    stub = agent_pb2_grpc.AgentServiceStub(channel)
    request = pb.ExecuteStreamRequest(turn=pb.ExecuteRequest(task=task))
    return stub.ExecuteStream(request, metadata=signed(), timeout=TIMEOUT_SECONDS)

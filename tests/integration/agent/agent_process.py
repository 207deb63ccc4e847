"""An agent replica as a process of its own, and a caller that talks to it as Envoy does."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from redis import Redis

from load.measuring.ports import free_port
from meshkit.channel import open_channel
from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.backends import accepts_connections, wait_until
from tests.mesh_identity import SECRET

TIMEOUT_SECONDS = 30.0
REPLICA = "agent-7"

_PROGRAM = """
import asyncio, os
from pathlib import Path
from meshkit.database import database_url
from meshkit.migrations import migrate
from meshkit.settings import load
from services import agent
from services.agent.main import run
from services.agent.settings import AgentSettings

settings = load(AgentSettings, os.environ)
url = database_url(settings.database_url, home=settings.home, owner="agent")
asyncio.run(migrate(url, owner="agent", scripts=Path(agent.__path__[0]) / "migrations"))
asyncio.run(run(settings))
"""

StreamCall = grpc.aio.UnaryStreamCall[Any, pb.ExecuteStreamResponse]


@dataclass(frozen=True, slots=True)
class AgentProcess:
    """A running replica. Its output goes to the file `log`."""

    process: subprocess.Popen[bytes]
    address: str
    metrics_address: str
    log: Path

    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        with urllib.request.urlopen(f"http://{self.metrics_address}/status") as response:
            told: dict[str, Any] = json.load(response)
        return told

    async def becomes(self, **expected: object) -> None:
        """Returns when this is what it says of itself."""
        await asyncio.to_thread(wait_until, lambda: expected.items() <= self.status().items(), f"{expected}")


@contextmanager
def agent_process(folder: Path, *, redis_url: str, model_url: str, **settings: str) -> Iterator[AgentProcess]:
    """Starts a replica over SQLite in `folder`, without a cache; it has stopped in order at the end."""
    secret_file, log = folder / "mesh_secret", folder / "agent.log"
    secret_file.write_bytes(SECRET)
    port, metrics_port = int(settings.get("SHOAL_PORT", free_port())), free_port()
    environ = {
        "SHOAL_REPLICA": REPLICA,
        "SHOAL_PORT": str(port),
        "SHOAL_HTTP1_PORT": str(free_port()),
        "SHOAL_METRICS_PORT": str(metrics_port),
        "SHOAL_MESH_SECRET_FILE": str(secret_file),
        "SHOAL_MESH_ADDRESS": f"127.0.0.1:{free_port()}",
        "SHOAL_HOME": str(folder),
        "SHOAL_STATE_REDIS_URL": redis_url,
        "SHOAL_MODEL_BASE_URL": f"{model_url}/v1",
        # What is asked of the cache is to be seen at once.
        "SHOAL_NEAR_CACHE_SECONDS": "0",
        "SHOAL_DRAIN_NOTICE_SECONDS": "0",
        "SHOAL_DRAIN_SECONDS": "1",
        **settings,
    }
    command = [sys.executable, "-c", _PROGRAM]
    with log.open("wb") as output, subprocess.Popen(command, env=environ, stdout=output, stderr=output) as process:
        try:
            wait_until(lambda: process.poll() is not None or accepts_connections(port), "the start of the agent")
            assert process.poll() is None, log.read_text()
            yield AgentProcess(process, f"127.0.0.1:{port}", f"127.0.0.1:{metrics_port}", log)
        finally:
            _stop(process)
    assert "Traceback" not in log.read_text(), log.read_text()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        assert process.wait(TIMEOUT_SECONDS) == 0
    finally:
        process.kill()


@contextmanager
def hanging(redis_url: str) -> Iterator[None]:
    """The server takes connections and answers nothing."""
    with Redis.from_url(redis_url) as client:
        process_id: int = client.info("server")["process_id"]
    os.kill(process_id, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process_id, signal.SIGCONT)


class Caller:
    """Calls an agent with the given metadata. A context manager."""

    def __init__(self, address: str, metadata: Sequence[tuple[str, str]]) -> None:
        self.channel = open_channel(address)
        self.stub = agent_pb2_grpc.AgentServiceStub(self.channel)
        self.metadata = tuple(metadata)

    async def __aenter__(self) -> "Caller":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()

    async def execute(self, request: pb.ExecuteRequest) -> pb.ExecuteResponse:
        return await self.stub.Execute(request, metadata=self.metadata, timeout=TIMEOUT_SECONDS)

    def stream(self, request: pb.ExecuteRequest) -> StreamCall:
        turn = pb.ExecuteStreamRequest(turn=request)
        return self.stub.ExecuteStream(turn, metadata=self.metadata, timeout=TIMEOUT_SECONDS)

    async def events(self, request: pb.ExecuteRequest) -> list[pb.ExecuteStreamResponse]:
        return [event async for event in self.stream(request)]

    async def get_session(self, session_id: str) -> pb.GetSessionResponse:
        request = pb.GetSessionRequest(session_id=session_id)
        return await self.stub.GetSession(request, metadata=self.metadata, timeout=TIMEOUT_SECONDS)

    async def delete_session(self, session_id: str) -> pb.DeleteSessionResponse:
        request = pb.DeleteSessionRequest(session_id=session_id)
        return await self.stub.DeleteSession(request, metadata=self.metadata, timeout=TIMEOUT_SECONDS)

    async def get_preferences(self, user_id: str) -> pb.GetPreferencesResponse:
        request = pb.GetPreferencesRequest(user_id=user_id)
        return await self.stub.GetPreferences(request, metadata=self.metadata, timeout=TIMEOUT_SECONDS)

    async def put_preferences(self, request: pb.PutPreferencesRequest) -> pb.PutPreferencesResponse:
        return await self.stub.PutPreferences(request, metadata=self.metadata, timeout=TIMEOUT_SECONDS)

    async def list_models(self) -> pb.ListModelsResponse:
        return await self.stub.ListModels(pb.ListModelsRequest(), metadata=self.metadata, timeout=TIMEOUT_SECONDS)

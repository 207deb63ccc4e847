"""A gateway that is told to stop: it says so, finishes what it began, and ends."""

import asyncio
import signal
from pathlib import Path

import httpx
import pytest

from tests.backends import accepts_connections, wait_until
from tests.integration.gateway.gateway_process import TIMEOUT_SECONDS, running_gateway
from tests.integration.gateway.scripted_agent import ScriptedAgent, completed, delta
from tests.mesh_identity import signed

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_a_running_stream_is_finished_after_the_gateway_stopped_listening(
    agent: ScriptedAgent, agent_port: int, tmp_path: Path
) -> None:
    goes_on = asyncio.Event()
    agent.on("Until the end.", delta("first"), goes_on, delta("last"), completed())
    body = {"task": "Until the end.", "stream": True}
    async with (
        running_gateway(
            tmp_path, mesh_port=agent_port, SHOAL_DRAIN_NOTICE_SECONDS="2", SHOAL_DRAIN_SECONDS=str(TIMEOUT_SECONDS)
        ) as gateway,
        gateway.client() as client,
        client.stream("POST", "/api/v1/task", json=body) as response,
    ):
        lines = response.aiter_lines()
        while "first" not in await anext(lines):
            pass
        gateway.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_until, lambda: statuses(gateway.url) == (503, 503, 200), "the notice")
        await asyncio.to_thread(wait_until, lambda: not accepts_connections(gateway.port), "the end of listening")
        goes_on.set()
        rest = [line async for line in lines]
    assert any("last" in line for line in rest)
    assert rest[-2:] == ["data: [DONE]", ""]


async def test_a_second_signal_ends_what_still_runs_at_once(
    agent: ScriptedAgent, agent_port: int, tmp_path: Path
) -> None:
    script = agent.on("For ever.", delta("first"), asyncio.Event())
    async with (
        running_gateway(tmp_path, mesh_port=agent_port, SHOAL_DRAIN_SECONDS="86400") as gateway,
        gateway.client() as client,
    ):
        await gateway.becomes(ready=True, draining=False, running=0, waiting=0, slots=None)
        body = {"task": "For ever.", "stream": True}
        async with client.stream("POST", "/api/v1/task", json=body) as response:
            lines = response.aiter_lines()
            while "first" not in await anext(lines):
                pass
            await gateway.becomes(ready=True, draining=False, running=1)
            gateway.process.terminate()
            await gateway.becomes(ready=False, draining=True, running=1)
            gateway.process.terminate()
            with pytest.raises(httpx.TransportError):
                [line async for line in lines]
        assert await asyncio.to_thread(gateway.process.wait, TIMEOUT_SECONDS) == 0
    await asyncio.wait_for(script.left.wait(), TIMEOUT_SECONDS)


async def test_what_outlasts_the_drain_is_ended(agent: ScriptedAgent, agent_port: int, tmp_path: Path) -> None:
    agent.on("For ever.", asyncio.Event())
    async with running_gateway(tmp_path, mesh_port=agent_port, SHOAL_DRAIN_SECONDS="0.1") as gateway:
        async with gateway.client() as client:
            asking = asyncio.create_task(client.post("/api/v1/task", json={"task": "For ever."}))
            await gateway.becomes(running=1)
            gateway.process.terminate()
            with pytest.raises(httpx.TransportError):
                await asking
        assert await asyncio.to_thread(gateway.process.wait, TIMEOUT_SECONDS) == 0


def statuses(url: str) -> tuple[int, int, int]:
    """Of /health, of /health/ready, and of a request that is still taken."""
    with httpx.Client(base_url=url, headers=signed()) as client:
        paths = ("/health", "/health/ready", "/v1/models")
        alive, ready, models = (client.get(path).status_code for path in paths)
        return alive, ready, models

"""The longest that a request may take: what goes on for longer is ended in order."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.integration.gateway.gateway_process import TIMEOUT_SECONDS, running_gateway
from tests.integration.gateway.scripted_agent import ScriptedAgent, delta

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest.mark.parametrize(("any_call", "rest"), [("1", "0"), ("900", "1")], ids=["any call", "REST"])
async def test_too_long_a_stream_ends_with_an_error_and_stops_the_agent(
    agent: ScriptedAgent, agent_port: int, tmp_path: Path, any_call: str, rest: str
) -> None:
    script = agent.on("For ever.", delta("first"), asyncio.Event())
    body = {"task": "For ever.", "stream": True}
    async with (
        running_gateway(
            tmp_path,
            mesh_port=agent_port,
            SHOAL_STREAM_MAX_SECONDS=any_call,
            SHOAL_REQUEST_TIMEOUT_SECONDS=rest,
        ) as gateway,
        gateway.client() as client,
    ):
        async with client.stream("POST", "/api/v1/task", json=body) as response:
            lines = [line async for line in response.aiter_lines()]
        await gateway.becomes(running=0)
    assert response.status_code == 200
    assert lines[-3] == "event: error"
    assert json.loads(lines[-2].removeprefix("data: "))["code"] == "DEADLINE_EXCEEDED"
    assert "data: [DONE]" not in lines
    await asyncio.wait_for(script.left.wait(), TIMEOUT_SECONDS)


async def test_too_long_an_answer_is_504(agent: ScriptedAgent, agent_port: int, tmp_path: Path) -> None:
    agent.on("For ever.", asyncio.Event())
    async with (
        running_gateway(tmp_path, mesh_port=agent_port, SHOAL_STREAM_MAX_SECONDS="0.5") as gateway,
        gateway.client() as client,
    ):
        response = await client.post("/api/v1/task", json={"task": "For ever."})
    assert (response.status_code, response.json()["reason"]) == (504, "DEADLINE_EXCEEDED")

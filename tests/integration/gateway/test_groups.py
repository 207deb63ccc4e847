"""Events that the agent sends in one message: callers of REST see each of them."""

import json
from typing import Any

import httpx
import pytest

from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.gateway.scripted_agent import HEARTBEAT, ScriptedAgent, completed, delta

pytestmark = pytest.mark.asyncio(loop_scope="package")

TEXTS = ["One", " two", " three"]


def group(*events: pb.ExecuteStreamResponse, first: int) -> pb.ExecuteStreamResponse:
    """The events, numbered from `first` on."""
    for sequence, event in enumerate(events, first):
        event.sequence = sequence
    return pb.ExecuteStreamResponse(group=pb.EventGroup(events=events))


@pytest.fixture
def task(agent: ScriptedAgent, request: pytest.FixtureRequest) -> str:
    steps = [group(*map(delta, TEXTS[:2]), first=2), HEARTBEAT, group(delta(TEXTS[2]), completed(), first=4)]
    agent.on(request.node.name, *steps)
    return str(request.node.name)


async def lines(http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> list[str]:
    response = await http.post(path, json=body | {"stream": True})
    return [line for line in response.text.splitlines() if line]


async def test_the_events_of_a_group_arrive_as_if_each_had_come_alone(
    http: httpx.AsyncClient, agent: ScriptedAgent, task: str
) -> None:
    told = await lines(http, "/api/v1/task", {"task": task})
    assert agent.takes_groups[-1]
    assert [line for line in told if line.startswith("id: ")] == [f"id: stream_1:{number}" for number in range(1, 6)]
    assert told[-1] == "data: [DONE]"
    assert ": heartbeat" in told
    data = [json.loads(line.removeprefix("data: ")) for line in told[:-1] if line.startswith("data: ")]
    assert [event["type"] for event in data] == ["started", "delta", "delta", "delta", "completed"]
    assert [event["text"] for event in data[1:-1]] == TEXTS


async def test_the_same_in_openais_shape(http: httpx.AsyncClient, task: str) -> None:
    told = await lines(http, "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": task}]})
    data = [json.loads(line.removeprefix("data: ")) for line in told[:-1] if line.startswith("data: ")]
    choices = [chunk["choices"][0] for chunk in data]
    assert [choice["delta"].get("content") for choice in choices] == ["", *TEXTS, None]
    assert choices[-1]["finish_reason"] == "stop"

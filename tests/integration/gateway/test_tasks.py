"""Shoal's own REST API: tasks, sessions, preferences."""

import asyncio
import json
import uuid
from typing import Any

import httpx
import pytest

from meshkit.errors import Reason, ShoalError
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.gateway.gateway_process import TIMEOUT_SECONDS
from tests.integration.gateway.scripted_agent import (
    HEARTBEAT,
    KEY,
    ScriptedAgent,
    completed,
    delta,
    tool_call,
    tool_result,
)

pytestmark = pytest.mark.asyncio(loop_scope="package")

TASK = "/api/v1/task"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def streamed(http: httpx.AsyncClient, task: str) -> list[str]:
    """The stream of a task, event by event as it is written."""
    response = await http.post(TASK, json={"task": task, "stream": True})
    assert response.status_code == 200
    assert response.text.endswith("\n\n")
    return response.text.removesuffix("\n\n").split("\n\n")


async def test_a_task_is_answered(http: httpx.AsyncClient) -> None:
    response = await http.post(TASK, json={"task": "Hällo, Wörld"})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.json() == {
        "id": "turn_1",
        "output": "Hällo, Wörld",
        "finish_reason": "stop",
        "model": "small",
        "why": "the default model",
        "tool_calls": [],
        "cache": {
            "status": "miss",
            "level": None,
            "age_seconds": None,
            "key": None,
            "ttl_seconds": None,
            "stale_seconds": None,
            "stale": False,
        },
        "usage": {"input_tokens": 2, "output_tokens": 3, "cost_usd": 0.25, "from_cache": False},
        "session_id": None,
        "replica": "agent-7",
        "created": 1_700_000_000.0,
    }
    assert response.headers["x-shoal-replica"] == "agent-7"
    assert response.headers["x-shoal-cache"] == "hit; level=l2"


@pytest.mark.parametrize("path", [TASK, "/v1/chat/completions"])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_key_of_an_answer_is_told_in_a_header(http: httpx.AsyncClient, path: str, stream: bool) -> None:
    asked = {"task": "Hello"} if path == TASK else {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    response = await http.post(path, json={**asked, "stream": stream})
    assert (response.status_code, response.headers["x-shoal-cache-key"]) == (200, KEY)


async def test_a_task_in_a_query_is_the_same_task(http: httpx.AsyncClient, agent: ScriptedAgent) -> None:
    response = await http.get(TASK, params={"task": "2 + 2 = ?", "model": "big", "max_tokens": 5})
    assert response.json()["output"] == "2 + 2 = ?"
    assert (agent.asked[-1].model, agent.asked[-1].sampling.max_tokens) == ("big", 5)


async def test_who_asks_arrives_with_the_task(http: httpx.AsyncClient, agent: ScriptedAgent) -> None:
    headers = {"x-request-id": "request-1", "traceparent": TRACEPARENT}
    await http.post(TASK, json={"task": "Who?"}, headers=headers)
    served = agent.calls[-1]
    assert (served.identity.tenant, served.request_id) == ("acme", "request-1")


async def test_tools_are_asked_for_and_never_run(http: httpx.AsyncClient, agent: ScriptedAgent) -> None:
    agent.on("Add.", tool_call("c1", "add", '{"a": 1}'), completed(pb.FINISH_REASON_TOOL_CALLS))
    tool = {"name": "add", "parameters": {"type": "object"}, "has_side_effects": True}
    answer = (await http.post(TASK, json={"task": "Add.", "tools": [tool], "tool_choice": "add"})).json()
    assert (answer["finish_reason"], answer["output"]) == ("tool_calls", "")
    assert answer["tool_calls"] == [{"id": "c1", "name": "add", "arguments": '{"a": 1}'}]
    assert (agent.asked[-1].tools[0].name, agent.asked[-1].tool_choice) == ("add", "add")
    assert agent.asked[-1].tools[0].has_side_effects


async def test_a_stream_tells_every_event_with_its_id_and_ends_with_done(http: httpx.AsyncClient) -> None:
    events = await streamed(http, "Hello")
    assert events.pop() == "data: [DONE]"
    ids, data = zip(*(event.split("\n") for event in events), strict=True)
    assert list(ids) == [f"id: stream_1:{sequence}" for sequence in range(1, 6)]
    assert [json.loads(line.removeprefix("data: ")) for line in data] == [
        {
            "type": "started",
            "id": "turn_1",
            "stream_id": "stream_1",
            "model": "small",
            "why": "",
            "cache": {
                "status": "hit",
                "level": "l2",
                "age_seconds": 1.5,
                "key": None,
                "ttl_seconds": None,
                "stale_seconds": None,
                "stale": False,
            },
            "session_id": None,
            "replica": "agent-7",
            "created": 1_700_000_000.0,
        },
        {"type": "delta", "text": "He"},
        {"type": "delta", "text": "llo"},
        {"type": "usage", "input_tokens": 2, "output_tokens": 3, "cost_usd": 0.25, "from_cache": False},
        {"type": "completed", "finish_reason": "stop"},
    ]


async def test_a_stream_is_sent_piece_by_piece(http: httpx.AsyncClient, agent: ScriptedAgent) -> None:
    goes_on = asyncio.Event()
    agent.on("Slowly.", delta("first"), goes_on, delta("second"), completed())
    async with http.stream("POST", TASK, json={"task": "Slowly.", "stream": True}) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-shoal-replica"] == "agent-7"
        lines = response.aiter_lines()
        while "first" not in await anext(lines):
            pass
        goes_on.set()
        rest = [line async for line in lines]
    assert rest[-2:] == ["data: [DONE]", ""]


async def test_a_stream_can_be_asked_for_in_a_query(http: httpx.AsyncClient) -> None:
    response = await http.get(TASK, params={"task": "Hello", "stream": "true"})
    assert response.text.endswith("data: [DONE]\n\n")


async def test_what_the_agents_own_tools_gave_back_is_told_in_a_stream(
    http: httpx.AsyncClient, agent: ScriptedAgent
) -> None:
    agent.on("Look up.", tool_result("c1", "search", "4 results"), delta("4"), completed())
    _, data = (await streamed(http, "Look up."))[1].split("\n")
    told = json.loads(data.removeprefix("data: "))
    assert told == {"type": "tool_result", "id": "c1", "name": "search", "content": "4 results"}


async def test_a_heartbeat_is_a_comment_without_an_id(http: httpx.AsyncClient, agent: ScriptedAgent) -> None:
    agent.on("Wait.", HEARTBEAT, HEARTBEAT, delta("Hi"), completed())
    events = await streamed(http, "Wait.")
    assert events[1:3] == [": heartbeat", ": heartbeat"]
    assert events[3].startswith("id: stream_1:2\n")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ShoalError(Reason.MODEL_UNAVAILABLE, "The model broke off."), "MODEL_UNAVAILABLE"),
        (KeyError("inner text"), "INTERNAL"),
    ],
)
async def test_a_stream_that_fails_half_way_ends_with_an_error_and_without_done(
    http: httpx.AsyncClient, agent: ScriptedAgent, failure: Exception, reason: str
) -> None:
    agent.on("Break.", delta("Hel"), failure)
    response = await http.post(TASK, json={"task": "Break.", "stream": True}, headers={"x-request-id": "request-2"})
    assert "[DONE]" not in response.text
    assert "inner text" not in response.text
    name, data = response.text.removesuffix("\n\n").split("\n\n")[-1].split("\n")
    assert name == "event: error"
    error = json.loads(data.removeprefix("data: "))
    assert (error["reason"], error["request_id"]) == (reason, "request-2")


async def test_a_turn_that_is_refused_before_it_began_has_an_errors_status(http: httpx.AsyncClient) -> None:
    for stream in (False, True):
        response = await http.post(TASK, json={"task": "Hi", "session_id": "two words", "stream": stream})
        assert (response.status_code, response.json()["field"]) == (400, "session_id")


@pytest.mark.parametrize("stream", [False, True])
async def test_when_the_client_leaves_the_agents_turn_is_cancelled(
    http: httpx.AsyncClient, agent: ScriptedAgent, stream: bool
) -> None:
    task, began = f"Wait for ever {stream}.", asyncio.Event()
    script = agent.on(task, delta("first"), asyncio.Event())

    async def asks() -> None:
        async with http.stream("POST", TASK, json={"task": task, "stream": stream}) as response:
            async for line in response.aiter_lines():
                if "first" in line:
                    began.set()

    asking = asyncio.create_task(asks())
    if stream:
        await began.wait()
    else:
        await _until_asked(agent, task)
    asking.cancel()
    await asyncio.wait_for(script.left.wait(), TIMEOUT_SECONDS)


async def _until_asked(agent: ScriptedAgent, task: str) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not any(request.task == task for request in agent.asked):  # noqa: ASYNC110 - the list tells nobody
            await asyncio.sleep(0.005)


async def test_a_session_is_read_and_forgotten(http: httpx.AsyncClient, agent: ScriptedAgent) -> None:
    calls = [pb.ToolCall(id="c1", name="add", arguments="{}")]
    agent.sessions["s-1"] = [
        pb.Message(role=pb.ROLE_USER, content="Hi"),
        pb.Message(role=pb.ROLE_ASSISTANT, tool_calls=calls),
        pb.Message(role=pb.ROLE_TOOL, content="2", tool_call_id="c1"),
    ]
    path = "/api/v1/sessions/s-1"
    assert (await http.get(path)).json() == {
        "session_id": "s-1",
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "name": "add", "arguments": "{}"}]},
            {"role": "tool", "content": "2", "tool_call_id": "c1"},
        ],
        "expires": 1_700_000_000.0,
    }
    assert (await http.delete(path)).json() == {"session_id": "s-1", "existed": True}
    assert (await http.delete(path)).json() == {"session_id": "s-1", "existed": False}
    response = await http.get(path)
    assert (response.status_code, response.json()["reason"]) == (404, "SESSION_NOT_FOUND")


async def test_preferences_are_put_and_read(http: httpx.AsyncClient) -> None:
    path = f"/api/v1/users/{uuid.uuid4()}/preferences"
    user_id = path.split("/")[4]
    preferences: dict[str, Any] = {"language": "de", "sizes": [1, 2.5, 1e300, None, True], "ä": {"b": "\0"}}
    assert (await http.get(path)).json() == {"user_id": user_id, "preferences": {}, "version": 0}
    put = await http.put(path, json={"preferences": preferences, "expected_version": 0})
    assert put.json() == {"user_id": user_id, "preferences": preferences, "version": 1}
    assert (await http.get(path)).json() == {"user_id": user_id, "preferences": preferences, "version": 1}


async def test_preferences_that_somebody_else_changed_are_not_overwritten(http: httpx.AsyncClient) -> None:
    path = f"/api/v1/users/{uuid.uuid4()}/preferences"
    await http.put(path, json={"preferences": {}})
    response = await http.put(path, json={"preferences": {"a": 1}, "expected_version": 0})
    assert (response.status_code, response.json()["reason"]) == (409, "PREFERENCES_CONFLICT")
    assert (await http.put(path, json={"preferences": {"a": 1}, "expected_version": 1})).json()["version"] == 2


async def test_a_large_answer_comes_whole(http: httpx.AsyncClient, agent: ScriptedAgent) -> None:
    agent.on("Much.", *(delta("x" * 1_000_000) for _ in range(6)), completed())
    assert len((await http.post(TASK, json={"task": "Much."})).json()["output"]) == 6_000_000

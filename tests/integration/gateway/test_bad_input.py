"""Bad input: a status of the 400s that names the field, whatever is sent."""

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway.openai_shapes import ChatCompletionBody
from services.gateway.shapes import PreferencesBody, TaskBody, TaskQuery
from tests.integration.gateway.gateway_process import MAX_BYTES
from tests.integration.gateway.scripted_agent import ScriptedAgent

pytestmark = pytest.mark.asyncio(loop_scope="package")

TASK = "/api/v1/task"
CHAT = "/v1/chat/completions"
PREFERENCES = "/api/v1/users/u-1/preferences"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
leave_the_server_alone = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def fields_of(kind: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with fields that exist, which get further than others."""
    return st.dictionaries(st.sampled_from(kind.__struct_fields__), json_values, max_size=5)


@pytest.mark.parametrize(
    ("content", "status", "field"),
    [
        (b"", 400, "body"),
        (b"{", 400, "body"),
        (b'{"task": "a",}', 400, "body"),
        (b"task=a", 400, "body"),
        (b'{"task": "\xff"}', 400, "body"),
        (b"{}", 400, "task"),
        (b"[]", 400, "body"),
        (b'{"task": 5}', 400, "task"),
        (b'{"task": "a", "stream": "true"}', 400, "stream"),
        (b'{"task": "a", "context": "b"}', 400, "context"),
        (b'{"task": "a", "context": {"n": 9007199254740993}}', 400, "context"),
        (b'{"task": "a", "context": ' + b'{"a":' * 40 + b"1" + b"}" * 41, 400, "context"),
        (b'{"task": "a", "context": ' + b'{"a":' * 5_000, 400, "body"),
        (b'{"task": "a", "priority": "critical"}', 400, "priority"),
        (b'{"task": "a", "session_id": "two words"}', 400, "session_id"),
        (b'{"task": "a", "max_tokens": -1}', 400, "max_tokens"),
        (b'{"task": "a", "cache": {"mode": "off"}}', 400, "cache.mode"),
        (b'{"task": "a", "cache": {"ttl_seconds": -1}}', 400, "cache.ttl_seconds"),
        (b'{"task": "a", "cache": {"tags": ["two words"]}}', 400, "cache.tags[0]"),
        (json.dumps({"task": "x" * MAX_BYTES}).encode(), 413, "body"),
    ],
)
async def test_a_bad_task_is_refused_and_its_field_named(
    http: httpx.AsyncClient, content: bytes, status: int, field: str
) -> None:
    response = await http.post(TASK, content=content, headers={"x-request-id": "request-1"})
    problem = response.json()
    assert (response.status_code, problem["field"], problem["request_id"]) == (status, field, "request-1")
    assert problem["code"] == "INVALID_ARGUMENT"
    assert set(problem) == {"error", "code", "reason", "field", "request_id"}
    assert response.headers["x-shoal-replica"] == "gateway-1"


async def test_a_refused_task_does_not_reach_the_agent(http: httpx.AsyncClient, agent: ScriptedAgent) -> None:
    before = len(agent.asked)
    await http.post(TASK, json={"task": "never", "taks": 1})
    assert len(agent.asked) == before


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "task"),
        ("task=a&task=b", "task"),
        ("task=%FF", "query"),
        ("task=a&max_tokens=x", "max_tokens"),
        ("task=a&cache.mode=off", "cache.mode"),
        ("task=a&cache.ttl_seconds=604801", "cache.ttl_seconds"),
        ("task=a&context=%7B%7D", "context"),
    ],
)
async def test_a_bad_query_is_refused_and_its_field_named(http: httpx.AsyncClient, query: str, field: str) -> None:
    response = await http.get(f"{TASK}?{query}")
    assert (response.status_code, response.json()["field"]) == (400, field)


@pytest.mark.parametrize(
    ("content", "status", "param"),
    [
        (b"{", 400, "body"),
        (b'{"model": "m"}', 400, "messages"),
        (b'{"model": "m", "messages": [{"role": "user", "content": 5}]}', 400, "messages[0].content"),
        (b'{"model": "m", "messages": []}', 400, "messages"),
        (b'{"model": "m", "messages": [], "cache": {"mode": "off"}}', 400, "cache.mode"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "functions": []}', 400, "functions"),
        (json.dumps({"model": "x" * MAX_BYTES}).encode(), 413, "body"),
    ],
)
async def test_a_bad_completion_is_refused_in_openais_shape(
    http: httpx.AsyncClient, content: bytes, status: int, param: str
) -> None:
    response = await http.post(CHAT, content=content)
    (error,) = response.json().values()
    assert (response.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")
    assert set(error) == {"message", "type", "param", "code"}


async def test_a_body_that_is_announced_as_small_and_is_not_is_refused(http: httpx.AsyncClient) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b"x" * 10_000

    response = await http.post(TASK, content=endless())
    assert (response.status_code, response.json()["reason"]) == (413, "REQUEST_TOO_LARGE")


async def test_a_connection_is_used_on_after_a_refusal(http: httpx.AsyncClient) -> None:
    assert (await http.post(TASK, content=b"{")).status_code == 400
    assert (await http.post(TASK, json={"task": "Hello"})).status_code == 200


@pytest.mark.parametrize("request_id", [b"\xe9\xff", b"two words", b"x" * 5_000])
async def test_a_request_id_that_could_not_travel_on_is_replaced(http: httpx.AsyncClient, request_id: bytes) -> None:
    response = await http.post(TASK, json={"task": "Hello"}, headers={b"x-request-id": request_id})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "header", [b"traceparent", b"tracestate", b"cache-control", b"pragma", b"content-type", b"accept"]
)
async def test_headers_full_of_garbage_do_no_harm(http: httpx.AsyncClient, header: bytes) -> None:
    response = await http.post(TASK, json={"task": "Hello"}, headers={header: b"\xe9\xff=,;"})
    assert response.status_code == 200


@leave_the_server_alone
@given(content=st.binary(max_size=60))
async def test_no_bytes_are_a_fault_of_ours(http: httpx.AsyncClient, content: bytes) -> None:
    for path in (TASK, CHAT):
        assert (await http.post(path, content=content)).status_code < 500


@leave_the_server_alone
@given(body=fields_of(TaskBody), task=st.text(max_size=8))
async def test_no_task_is_a_fault_of_ours(http: httpx.AsyncClient, body: dict[str, Any], task: str) -> None:
    response = await http.post(TASK, json={"task": task} | body)
    assert response.status_code < 500
    assert response.status_code == 200 or response.json()["field"]


@leave_the_server_alone
@given(
    body=fields_of(ChatCompletionBody),
    message=st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "tool", "assistant"])}, optional={"content": json_values}
    ),
)
async def test_no_completion_is_a_fault_of_ours(
    http: httpx.AsyncClient, body: dict[str, Any], message: dict[str, Any]
) -> None:
    messages = [{"role": "user", "content": "a"}, message]
    response = await http.post(CHAT, json={"model": "m", "messages": messages} | body)
    assert response.status_code < 500
    assert response.status_code == 200 or response.json()["error"]["param"]


@leave_the_server_alone
@given(body=fields_of(PreferencesBody), preferences=st.dictionaries(st.text(max_size=8), json_values, max_size=4))
async def test_no_preferences_are_a_fault_of_ours(
    http: httpx.AsyncClient, body: dict[str, Any], preferences: dict[str, Any]
) -> None:
    put = await http.put(PREFERENCES, json={"preferences": preferences} | body)
    assert put.status_code < 500
    assert (await http.get(PREFERENCES)).status_code == 200


@leave_the_server_alone
@given(query=st.dictionaries(st.sampled_from(TaskQuery.__struct_encode_fields__), st.text(max_size=8), max_size=4))
async def test_no_query_is_a_fault_of_ours(http: httpx.AsyncClient, query: dict[str, str]) -> None:
    assert (await http.get(TASK, params=query)).status_code < 500


@leave_the_server_alone
@given(segment=st.text(min_size=1, max_size=12).filter(lambda text: text not in {".", ".."}))
async def test_no_path_is_a_fault_of_ours(http: httpx.AsyncClient, segment: str) -> None:
    for prefix in ("", "/api/v1/sessions", "/api/v1", "/v1", "/health"):
        assert (await http.get(f"{prefix}/{quote(segment, safe='')}")).status_code < 500

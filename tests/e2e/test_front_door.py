"""The whole mesh from outside: what a user of REST, of OpenAI's SDK and of gRPC sees."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import openai
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.e2e.grpc_calls import error_info, raw_method
from tests.mesh import Mesh

UNKNOWN = "sk-shoal-" + "a" * 43
REPLICAS = {"agent-1", "agent-2", "agent-3"}


@pytest.fixture
def openai_client(mesh: Mesh) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.api_key, max_retries=0, timeout=60) as client:
        yield client


def short(task: str, **more: Any) -> dict[str, Any]:
    return {"task": task, "max_tokens": 12, **more}


def events_of(response: httpx.Response) -> list[dict[str, object]]:
    data = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    return [json.loads(item) for item in data]


def test_a_task_is_answered_by_the_model(rest: httpx.Client) -> None:
    answer = rest.post("/api/v1/task", json=short("Say hello.")).raise_for_status()
    assert answer.json()["output"]
    assert answer.json()["usage"]["output_tokens"] > 0
    assert answer.headers["x-request-id"]
    assert answer.headers["x-shoal-replica"] == answer.json()["replica"]
    assert answer.headers["ratelimit-policy"] == '"premium";q=200;w=2'
    assert int(answer.headers["x-ratelimit-limit"]) == 200


def test_thirty_requests_meet_all_three_replicas(rest: httpx.Client) -> None:
    query = short("Say hello.", **{"cache.mode": "bypass"})
    met = {rest.get("/api/v1/task", params=query).headers["x-shoal-replica"] for _ in range(30)}
    assert met == REPLICAS


def test_a_stream_tells_the_turn_event_by_event(rest: httpx.Client) -> None:
    with rest.stream("POST", "/api/v1/task", json=short("Count to five.", stream=True)) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = events_of(response)
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[-2:]) == ("started", ["usage", "completed"])
    assert set(kinds[1:-2]) == {"delta"}


def test_an_answer_is_computed_once_whoever_asks(rest: httpx.Client, channel: grpc.Channel, mesh: Mesh) -> None:
    asked = rest.post("/api/v1/task", json={"task": "Name one colour.", "max_tokens": 300}).json()
    assert asked["finish_reason"] == "stop", "a cut-off answer is not cached; the model must end by itself here"
    again = rest.post("/api/v1/task", json={"task": "Name one colour.", "max_tokens": 300})
    assert again.headers["x-shoal-cache"] == "hit; level=l1"
    assert again.json()["output"] == asked["output"]
    turn = pb.ExecuteRequest(task="Name one colour.", sampling=pb.SamplingParameters(max_tokens=300))
    agent = agent_pb2_grpc.AgentServiceStub(channel)
    streamed = list(
        agent.ExecuteStream(pb.ExecuteStreamRequest(turn=turn), metadata=(("x-api-key", mesh.api_key),), timeout=60)
    )
    assert streamed[0].started.cache.status == pb.CACHE_STATUS_HIT
    assert "".join(event.delta.text for event in streamed) == asked["output"]


def test_another_tenant_never_gets_the_answer(rest: httpx.Client, mesh: Mesh) -> None:
    task = {"task": "Name one animal.", "max_tokens": 300}
    assert rest.post("/api/v1/task", json=task).json()["finish_reason"] == "stop"
    assert rest.post("/api/v1/task", json=task).headers["x-shoal-cache"] == "hit; level=l1"
    stranger = mesh.create_key(tenant="stranger", tier="basic")
    answer = rest.post("/api/v1/task", json=task, headers={"X-API-Key": stranger})
    assert answer.headers["x-shoal-cache"] == "miss"


def test_a_session_goes_on_at_any_replica(rest: httpx.Client) -> None:
    for number in range(4):
        rest.post("/api/v1/task", json=short(f"Remember {number}.", session_id="e2e-1")).raise_for_status()
    session = rest.get("/api/v1/sessions/e2e-1").json()
    assert [message["content"] for message in session["messages"] if message["role"] == "user"] == [
        f"Remember {number}." for number in range(4)
    ]
    assert rest.delete("/api/v1/sessions/e2e-1").json() == {"session_id": "e2e-1", "existed": True}
    assert rest.get("/api/v1/sessions/e2e-1").status_code == 404


def test_preferences_are_kept_and_versioned(rest: httpx.Client) -> None:
    path = "/api/v1/users/e2e-ada/preferences"
    assert rest.get(path).json()["version"] == 0
    assert rest.put(path, json={"preferences": {"tone": "brief"}, "expected_version": 0}).json()["version"] == 1
    conflict = rest.put(path, json={"preferences": {}, "expected_version": 0})
    assert (conflict.status_code, conflict.json()["reason"]) == (409, "PREFERENCES_CONFLICT")
    assert rest.get(path).json()["preferences"] == {"tone": "brief"}


def test_openais_sdk_works_plain_and_streamed(openai_client: openai.OpenAI) -> None:
    model = openai_client.models.list().data[0].id
    assert openai_client.models.retrieve(model).id == model
    plain = openai_client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Say hello."}], max_tokens=12
    )
    assert plain.choices[0].message.content
    assert plain.usage
    assert plain.usage.total_tokens == plain.usage.prompt_tokens + plain.usage.completion_tokens
    chunks = list(
        openai_client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Say goodbye."}],
            max_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage


def test_openais_sdk_gets_openais_errors(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as unknown_model:
        openai_client.chat.completions.create(model="nosuch", messages=[{"role": "user", "content": "Hello"}])
    assert unknown_model.value.param == "model"
    # Should this address have no failed look-ups left, the SDK waits as long as Retry-After says.
    stranger = openai_client.with_options(api_key=UNKNOWN, max_retries=20)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_grpc_reflects_answers_and_streams(channel: grpc.Channel, mesh: Mesh) -> None:
    assert "shoal.agent.v1.AgentService" in ProtoReflectionDescriptorDatabase(channel).get_services()
    agent = agent_pb2_grpc.AgentServiceStub(channel)
    turn = pb.ExecuteRequest(task="Say hello.", sampling=pb.SamplingParameters(max_tokens=12))
    key = (("authorization", f"Bearer {mesh.api_key}"),)
    answer, call = agent.Execute.with_call(turn, metadata=key, timeout=60)
    assert answer.output
    assert dict(call.initial_metadata())["x-shoal-replica"] in REPLICAS
    events = list(agent.ExecuteStream(pb.ExecuteStreamRequest(turn=turn), metadata=key, timeout=60))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert (events[0].WhichOneof("event"), events[-1].WhichOneof("event")) == ("started", "completed")


BAD_BODIES = {
    "malformed JSON": (b'{"task": ', 400, "body"),
    "no task": (b"{}", 400, "task"),
    "empty task": (b'{"task": "  "}', 400, "task"),
    "task over the limit": (json.dumps({"task": "x" * 262_145}).encode(), 400, "task"),
    "body over the limit": (b'{"task": "' + b"x" * 3_000_000 + b'"}', 413, "body"),
    "wrong type": (b'{"task": 5}', 400, "task"),
    "wrong type inside": (b'{"task": "x", "cache": {"mode": 1}}', 400, "cache.mode"),
    "unknown field": (b'{"task": "x", "prompt": "y"}', 400, "prompt"),
    "bad UTF-8": (b'{"task": "\xff\xfe"}', 400, "body"),
    "unpaired surrogate": (b'{"task": "\\ud800"}', 400, "body"),
    "session id of no known form": (b'{"task": "x", "session_id": "a b"}', 400, "session_id"),
    "unknown model": (b'{"task": "x", "model": "nosuch"}', 400, "model"),
    "temperature out of range": (b'{"task": "x", "temperature": 3}', 400, "temperature"),
    "deep nesting": (b'{"task": "x", "context": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}", 400, "body"),
    "a number that would lose digits": (b'{"task": "x", "context": {"id": 9007199254740993}}', 400, "context"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_is_refused_by_the_name_of_its_field(name: str, rest: httpx.Client) -> None:
    body, status, field = BAD_BODIES[name]
    answer = rest.post("/api/v1/task", content=body)
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text
    assert answer.json()["code"] == "INVALID_ARGUMENT"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


BAD_TURNS = {
    "task": pb.ExecuteRequest(),
    "session_id": pb.ExecuteRequest(task="x", session_id="a b"),
    "user_id": pb.ExecuteRequest(task="x", user_id="\n"),
    "model": pb.ExecuteRequest(task="x", model="nosuch"),
    "temperature": pb.ExecuteRequest(task="x", sampling=pb.SamplingParameters(temperature=3)),
    "history": pb.ExecuteRequest(task="x", session_id="s", history=[pb.Message(role=pb.ROLE_USER, content="y")]),
}


@pytest.mark.parametrize("field", BAD_TURNS)
def test_a_bad_turn_is_refused_by_the_name_of_its_field(field: str, channel: grpc.Channel, mesh: Mesh) -> None:
    agent = agent_pb2_grpc.AgentServiceStub(channel)
    with pytest.raises(grpc.RpcError) as refusal:
        agent.Execute(BAD_TURNS[field], metadata=(("x-api-key", mesh.api_key),), timeout=60)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(refusal.value).metadata["field"] == field


def test_bytes_that_are_no_message_are_the_callers_error(channel: grpc.Channel, mesh: Mesh) -> None:
    execute = raw_method(channel, "/shoal.agent.v1.AgentService/Execute")
    for garbage in (b"\xff\xff\xff", b"\x0a\x02\xff\xfe"):
        with pytest.raises(grpc.RpcError) as refusal:
            execute(garbage, metadata=(("x-api-key", mesh.api_key),), timeout=60)
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_health_and_description_need_no_key_and_cost_nothing(mesh: Mesh) -> None:
    for path in ("/health", "/health/ready", "/docs", "/openapi.json"):
        for _ in range(15):
            assert httpx.get(mesh.url + path).status_code == 200


def test_what_is_not_there_is_said_in_the_same_shape(rest: httpx.Client) -> None:
    assert rest.get("/nosuch").json()["reason"] == "PATH_NOT_FOUND"
    refused = rest.patch("/api/v1/task")
    assert (refused.status_code, refused.json()["reason"]) == (405, "METHOD_NOT_ALLOWED")

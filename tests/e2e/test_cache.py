"""The cache through the front door, with three agents and two cache processes: each answer is computed once."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import openai
import pytest

from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.backends import wait_until
from tests.mesh import Mesh, running_mesh
from tests.simulated_model import ModelProcess, model_process

TASK = "/api/v1/task"


@pytest.fixture(scope="module")
def model() -> Iterator[ModelProcess]:
    with model_process() as model:
        yield model


@pytest.fixture(scope="module")
def mesh(model: ModelProcess) -> Iterator[Mesh]:
    with running_mesh(
        SHOAL_MODEL_BASE_URL=f"{model.url}/v1",
        SHOAL_CACHE_REPLICAS="2",
        # On a busy machine a level that is late shall not be passed over.
        SHOAL_L2_TIMEOUT_SECONDS="1",
        SHOAL_L3_TIMEOUT_SECONDS="1",
        SHOAL_CACHE_POLICIES="response.stale=3600",
        SHOAL_TIERS="anonymous=1000/2000,premium=1000/2000",
        # What the cache processes find is to be seen, each time.
        SHOAL_NEAR_CACHE_SECONDS="0",
    ) as started:
        yield started


@pytest.fixture
def rest(mesh: Mesh) -> Iterator[httpx.Client]:
    with client_of(mesh, mesh.api_key) as client:
        yield client


def client_of(mesh: Mesh, api_key: str) -> httpx.Client:
    return httpx.Client(base_url=mesh.url, headers={"X-API-Key": api_key}, timeout=60)


def ask(rest: httpx.Client, task: str, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
    answer = rest.post(TASK, json={"task": task, **body}, headers=headers)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def said(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a stream says but for its beginning, which differs between two turns."""
    return [event for event in events if event["type"] != "started"]


def streamed(rest: httpx.Client, task: str, **body: Any) -> list[dict[str, Any]]:
    with rest.stream("POST", TASK, json={"task": task, "stream": True, **body}) as answer:
        data = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    return [json.loads(one) for one in data]


def test_an_answer_is_found_in_memory_whichever_agent_asks(rest: httpx.Client) -> None:
    # Each cache process has a memory of its own: all calls about one key meet in the same.
    for number in range(10):
        assert ask(rest, f"Meet {number}")["cache"]["status"] == "miss"
        again = [ask(rest, f"Meet {number}") for _ in range(6)]
        assert {told["cache"]["level"] for told in again} == {"l1"}
    assert len({told["replica"] for told in again}) > 1


@pytest.mark.parametrize("stream_first", [True, False])
def test_a_replay_says_what_the_original_said_in_the_form_that_was_asked_for(
    rest: httpx.Client, stream_first: bool
) -> None:
    task = f"Replay {stream_first}"
    first, second = (streamed(rest, task) for _ in range(2)) if stream_first else ([], [])
    plain = ask(rest, task)
    if not stream_first:
        first, second = (streamed(rest, task) for _ in range(2))
    assert said(first) == said(second)
    assert "".join(event["text"] for event in first if event["type"] == "delta") == plain["output"]
    assert (first[-1]["finish_reason"], first[-2]["output_tokens"]) == ("stop", plain["usage"]["output_tokens"])
    assert second[0]["cache"]["status"] == "hit"
    assert plain["cache"]["status"] == ("hit" if stream_first else "miss")


def test_the_modes_do_what_they_say_in_the_body_and_in_standard_headers(rest: httpx.Client) -> None:
    task = "Modes of the cache"
    only = rest.post(TASK, json={"task": task}, headers={"Cache-Control": "only-if-cached"})
    assert (only.status_code, only.json()["reason"]) == (504, "NOT_CACHED")
    key = ask(rest, task, cache={"tags": ["modes"], "ttl_seconds": 600})["cache"]["key"]
    assert 540 <= ask(rest, task, cache={"mode": "only"})["cache"]["ttl_seconds"] <= 600
    assert ask(rest, task, {"Cache-Control": "no-store"})["cache"] == {
        "status": "bypass", "level": None, "age_seconds": None, "key": None, "ttl_seconds": None,
        "stale_seconds": None, "stale": False,
    }  # fmt: skip
    refreshed = ask(rest, task, {"Cache-Control": "no-cache"}, cache={"ttl_seconds": 60})["cache"]
    assert (refreshed["status"], refreshed["key"]) == ("miss", key)
    assert 54 <= ask(rest, task)["cache"]["ttl_seconds"] <= 60


def test_the_modes_hold_over_grpc_and_in_openais_shape(mesh: Mesh, rest: httpx.Client) -> None:
    turn = pb.ExecuteRequest(task="Modes elsewhere", cache=pb.CacheControl(mode=pb.CACHE_MODE_ONLY))
    with grpc.insecure_channel(mesh.grpc_target) as channel:
        agent = agent_pb2_grpc.AgentServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            agent.Execute(turn, metadata=(("x-api-key", mesh.api_key),))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    sdk = openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.api_key)
    model = sdk.models.list().data[0].id
    asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "Modes elsewhere"}]}
    with pytest.raises(openai.APIStatusError) as not_cached:
        sdk.chat.completions.create(**asked, extra_body={"cache": {"mode": "only"}})
    assert (not_cached.value.status_code, not_cached.value.code) == (504, "not_cached")
    for expected in ("miss", "hit; level=l1"):
        raw = sdk.chat.completions.with_raw_response.create(**asked, extra_headers={"Shoal-Cache-Tags": "sdk"})
        assert raw.headers["x-shoal-cache"] == expected


def test_another_tenant_always_misses(mesh: Mesh, rest: httpx.Client) -> None:
    mine = ask(rest, "Whose answer", cache={"tags": ["shared-name"], "public": True})["cache"]
    with client_of(mesh, mesh.create_key(tenant="rival", tier="premium")) as rival:
        theirs = ask(rival, "Whose answer", cache={"tags": ["shared-name"]})["cache"]
        assert (theirs["status"], theirs["key"] != mine["key"]) == ("miss", True)
        mesh.shoal("cache", "invalidate", "--tenant", "rival", "--tag", "shared-name")
        wait_until(lambda: only_cached(rival, "Whose answer") == 504, "the invalidation")
    assert only_cached(rest, "Whose answer") == 200


def only_cached(rest: httpx.Client, task: str) -> int:
    return rest.post(TASK, json={"task": task, "cache": {"mode": "only"}}).status_code


def test_a_cache_in_front_gets_what_it_needs(rest: httpx.Client) -> None:
    query = {"task": "For a browser"}
    missed, found = rest.get(TASK, params=query), rest.get(TASK, params=query)
    assert missed.headers["cache-control"].startswith("private, max-age=3")
    assert (found.headers["etag"], found.headers["x-shoal-cache"]) == (missed.headers["etag"], "hit; level=l1")
    assert found.headers["age"].isdecimal()
    assert {"x-api-key", "authorization"} <= set(found.headers["vary"].lower().replace(" ", "").split(","))
    same = rest.get(TASK, params=query, headers={"If-None-Match": found.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    public = rest.get(TASK, params={**query, "cache.public": "true"})
    assert public.headers["cache-control"].startswith("public, max-age=3")
    now = rest.get(TASK, params={"task": "What is the weather right now?"})
    assert (now.headers["cache-control"], now.headers["x-shoal-cache"]) == ("no-store", "bypass")


def calls_of(model: ModelProcess) -> dict[str, int]:
    """How many there were since they were last counted anew."""
    counts: dict[str, int] = httpx.get(f"{model.url}/calls").json()
    return counts


def test_a_stale_answer_is_given_at_once_and_computed_anew_once(rest: httpx.Client, model: ModelProcess) -> None:
    # Were there two renewals, both would have begun before the first one ends.
    task = "Stale while it is computed anew [[first_token=0.5]]"
    ask(rest, task, cache={"ttl_seconds": 1})
    httpx.delete(f"{model.url}/calls")
    with model.paused():
        wait_until(lambda: ask(rest, task)["cache"]["stale"], "staleness")
        with ThreadPoolExecutor(10) as callers:
            told = list(callers.map(lambda _: ask(rest, task), range(20)))
    # Whoever had waited for the model would have got a fresh answer.
    assert all(each["cache"]["stale"] for each in told)
    wait_until(lambda: calls_of(model)["completed"] > 0, "the renewal")
    assert calls_of(model)["begun"] == 1
    # The renewal keeps the time to live of a second, so it is seen by the age that begins anew.
    wait_until(lambda: not ask(rest, task)["cache"]["stale"], "a fresh answer")


def test_an_answer_lies_at_the_levels_of_its_policy(mesh: Mesh, rest: httpx.Client) -> None:
    key = ask(rest, "Kept near and far")["cache"]["key"]
    shown = mesh.shoal("cache", "get", key, "--tenant", "demo", "--json")
    assert [entry["level"] for entry in json.loads(shown.stdout)["entries"]] == ["l1", "l2"]

"""Limits as a client meets them: keys of every kind, addresses, refusals in three shapes, and limiters that fail."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

import itertools
import os
import re
import signal
import stat
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.backends import wait_until
from tests.mesh import Mesh, running_mesh
from tests.simulated_model import model_process

LIMITERS = ("ratelimit-1", "ratelimit-2")
# `slow` gives no token back while a test runs, `quick` gives one back in a fifth of a second.
TIERS = "anonymous=0.001/3,slow=0.001/2,quick=5/1,premium=100/200"
UNKNOWN = b"sk-shoal-" + b"a" * 43
OTHER = b"sk-shoal-" + b"b" * 43
CLIENTS = 4
WAITS = 10

Headers = list[tuple[bytes, bytes]]


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """Two limiters, two routes that fail open, and clients that say who they are by X-Forwarded-For."""
    with (
        model_process() as model,
        running_mesh(
            SHOAL_MODEL_BASE_URL=f"{model.url}/v1",
            SHOAL_AGENT_REPLICAS="1",
            SHOAL_RATELIMIT_REPLICAS=str(len(LIMITERS)),
            SHOAL_FAIL_OPEN_ROUTES="task,models",
            SHOAL_TRUSTED_HOPS="1",
            SHOAL_TIERS=TIERS,
        ) as started,
    ):
        yield started


@pytest.fixture(scope="module")
def addresses() -> Iterator[str]:
    return (f"203.0.113.{number}" for number in itertools.count(1))


@pytest.fixture
def stranger(mesh: Mesh, addresses: Iterator[str]) -> Iterator[httpx.Client]:
    """A client at an address that no other test uses, without a key."""
    with httpx.Client(base_url=mesh.url, headers={"X-Forwarded-For": next(addresses)}, timeout=60) as client:
        yield client


@pytest.fixture
def agent(mesh: Mesh) -> Iterator[agent_pb2_grpc.AgentServiceStub]:
    with grpc.insecure_channel(mesh.grpc_target) as channel:
        yield agent_pb2_grpc.AgentServiceStub(channel)


def decisions(mesh: Mesh, limiter: str) -> float:
    """How many decisions a limiter has made."""
    with urllib.request.urlopen(f"http://127.0.0.1:{mesh.metrics_port(limiter)}/metrics") as response:
        text = response.read().decode()
    return sum(float(count) for count in re.findall(r"^shoal_ratelimit_decisions_total{.*} (.+)$", text, re.MULTILINE))


def refused(agent: agent_pb2_grpc.AgentServiceStub, key: str) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as refusal:
        agent.ListModels(pb.ListModelsRequest(), metadata=(("x-api-key", key),), timeout=60)
    return refusal.value


BAD_KEYS: dict[str, tuple[Headers, str]] = {
    "10 KB": ([(b"X-API-Key", b"sk-shoal-" + b"k" * 10_240)], "API_KEY_INVALID"),
    "no UTF-8": ([(b"X-API-Key", b"sk-\xff\xfe")], "API_KEY_INVALID"),
    "no UTF-8 in Authorization": ([(b"Authorization", b"Bearer \xc3\x28")], "API_KEY_INVALID"),
    "empty": ([(b"X-API-Key", b"")], "API_KEY_INVALID"),
    "a bearer of nothing": ([(b"Authorization", b"Bearer")], "API_KEY_INVALID"),
    "a comma": ([(b"X-API-Key", b",")], "API_KEY_INVALID"),
    "no bearer": ([(b"Authorization", UNKNOWN)], "API_KEY_INVALID"),
    "two in one header": ([(b"X-API-Key", UNKNOWN + b", " + OTHER)], "API_KEY_AMBIGUOUS"),
    "one and an empty one": ([(b"X-API-Key", UNKNOWN), (b"X-API-Key", b"")], "API_KEY_AMBIGUOUS"),
    "a thousand": ([(b"X-API-Key", b",".join(b"%d" % n for n in range(1000)))], "API_KEY_AMBIGUOUS"),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_key_of_no_known_form_is_401(name: str, stranger: httpx.Client) -> None:
    headers, reason = BAD_KEYS[name]
    answer = stranger.post("/api/v1/task", json={"task": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (401, reason)


def test_one_key_in_both_headers_is_one_key(mesh: Mesh, stranger: httpx.Client) -> None:
    both = {"X-API-Key": mesh.api_key, "Authorization": f"Bearer {mesh.api_key}"}
    answer = stranger.get("/v1/models", headers=both)
    assert (answer.status_code, answer.headers["x-ratelimit-limit"]) == (200, "200")


def test_a_good_key_beside_a_bad_one_is_no_key(mesh: Mesh, stranger: httpx.Client) -> None:
    answer = stranger.get("/v1/models", headers=[(b"X-API-Key", mesh.api_key.encode()), (b"X-API-Key", UNKNOWN)])
    assert answer.status_code == 401


def test_a_key_under_another_spelling_of_the_header_is_not_read(mesh: Mesh, stranger: httpx.Client) -> None:
    answer = stranger.get("/v1/models", headers={"X_API_KEY": mesh.api_key})
    assert (answer.status_code, answer.headers["x-ratelimit-limit"]) == (200, "3")


def test_addresses_of_one_ipv6_network_share_a_bucket(mesh: Mesh) -> None:
    def status(address: str) -> int:
        return httpx.get(f"{mesh.url}/v1/models", headers={"X-Forwarded-For": address}).status_code

    assert [status(f"2001:db8:1:1::{number}") for number in range(1, 5)] == [200, 200, 200, 429]
    assert status("2001:db8:1:2::1") == 200


def test_what_is_left_is_told_with_each_answer_whichever_limiter_was_asked(mesh: Mesh, stranger: httpx.Client) -> None:
    headers = {"X-API-Key": mesh.create_key(tenant="told", tier="slow")}
    for left in (1, 0):
        answer = stranger.get("/v1/models", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"slow";q=2;w=2000'
        assert re.fullmatch(rf'"slow";r={left};t=\d+', answer.headers["ratelimit"])
        assert (answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-remaining"]) == ("2", str(left))
        assert 0 < int(answer.headers["x-ratelimit-reset"]) <= 2000
        assert "retry-after" not in answer.headers
    assert {stranger.get("/v1/models", headers=headers).status_code for _ in range(10)} == {429}


def test_a_refusal_says_when_to_come_back_over_rest_and_in_openais_shape(mesh: Mesh, stranger: httpx.Client) -> None:
    headers = {"X-API-Key": mesh.create_key(tenant="refused", tier="slow")}
    for _ in range(2):
        stranger.get("/v1/models", headers=headers)
    rest = stranger.post("/api/v1/task", json={"task": "x"}, headers=headers)
    body = rest.json()
    assert (rest.status_code, body["code"], body["reason"]) == (429, "RESOURCE_EXHAUSTED", "RATE_LIMITED")
    assert body["request_id"] == rest.headers["x-request-id"]
    assert 900 < body["retry_after_seconds"] <= 1000
    assert body["retry_after_seconds"] % 1
    assert 0 <= int(rest.headers["retry-after"]) - body["retry_after_seconds"] < 1
    openai = stranger.get("/v1/models", headers=headers)
    assert (openai.status_code, openai.json()["error"]["type"]) == (429, "rate_limit_error")
    for answer in (rest, openai):
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["ratelimit-policy"] == '"slow";q=2;w=2000'
        assert answer.headers["ratelimit"].startswith('"slow";r=0;t=')
        assert (answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-remaining"]) == ("2", "0")
        assert int(answer.headers["retry-after"]) <= int(answer.headers["x-ratelimit-reset"]) <= 2000


def test_a_refusal_says_when_to_come_back_over_grpc(mesh: Mesh, agent: agent_pb2_grpc.AgentServiceStub) -> None:
    key = mesh.create_key(tenant="refused-grpc", tier="slow")
    for left in ("1", "0"):
        _, call = agent.ListModels.with_call(pb.ListModelsRequest(), metadata=(("x-api-key", key),), timeout=60)
        assert dict(call.initial_metadata())["x-ratelimit-remaining"] == left
    error = refused(agent, key)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    headers = {item.key: str(item.value) for item in error.trailing_metadata()}
    milliseconds = retry_info(error).retry_delay.ToMicroseconds() / 1000
    assert 900_000 < milliseconds <= 1_000_000
    assert 0 <= int(headers["grpc-retry-pushback-ms"]) - milliseconds < 1
    assert 0 <= 1000 * int(headers["retry-after"]) - milliseconds < 1000
    assert headers["ratelimit"].startswith('"slow";r=0;t=')


def retry_info(error: grpc.RpcError) -> error_details_pb2.RetryInfo:
    info = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(info) for detail in rpc_status.from_call(error).details)
    return info


def test_who_waits_as_long_as_told_is_let_through(mesh: Mesh, stranger: httpx.Client) -> None:
    headers = {"X-API-Key": mesh.create_key(tenant="patient", tier="quick")}
    waits = 0
    while waits < WAITS:
        answer = stranger.post("/api/v1/task", json={}, headers=headers)
        if answer.status_code == 429:
            time.sleep(answer.json()["retry_after_seconds"])
            waits += 1
            assert stranger.post("/api/v1/task", json={}, headers=headers).status_code == 400


def test_who_waits_as_long_as_told_is_let_through_over_grpc(mesh: Mesh, agent: agent_pb2_grpc.AgentServiceStub) -> None:
    key = (("x-api-key", mesh.create_key(tenant="patient-grpc", tier="quick")),)
    waits = 0
    while waits < WAITS:
        try:
            agent.ListModels(pb.ListModelsRequest(), metadata=key, timeout=60)
        except grpc.RpcError as error:
            time.sleep(retry_info(error).retry_delay.ToMicroseconds() / 1e6)
            waits += 1
            agent.ListModels(pb.ListModelsRequest(), metadata=key, timeout=60)


def test_the_identity_of_unchecked_callers_is_for_the_owners_eyes(mesh: Mesh) -> None:
    rendered = mesh.home / "envoy.yaml"
    assert "x-shoal-identity" in rendered.read_text()
    assert stat.S_IMODE(rendered.stat().st_mode) == 0o600


def test_envoy_asks_all_limiters(mesh: Mesh, stranger: httpx.Client) -> None:
    before = [decisions(mesh, limiter) for limiter in LIMITERS]
    for _ in range(50):
        stranger.get("/v1/models", headers={"X-API-Key": mesh.api_key})
    after = [decisions(mesh, limiter) for limiter in LIMITERS]
    assert all(later > earlier for earlier, later in zip(before, after, strict=True))
    assert sum(after) - sum(before) == 50


def test_one_limiter_of_two_that_is_killed_costs_the_calls_in_flight_at_most(mesh: Mesh) -> None:
    enough = threading.Event()
    answers: list[httpx.Response] = []

    def ask() -> None:
        with httpx.Client(base_url=mesh.url, headers={"X-API-Key": mesh.api_key}, timeout=60) as client:
            while not enough.is_set():
                answers.append(client.get("/api/v1/sessions/nosuch"))

    with ThreadPoolExecutor(CLIENTS) as clients:
        running = [clients.submit(ask) for _ in range(CLIENTS)]
        wait_until(lambda: len(answers) >= 20, "the first answers")
        os.kill(mesh.pid("ratelimit-1"), signal.SIGKILL)
        wait_until(lambda: re.search(r"ratelimit-1 +ready again", mesh.output()) is not None, "the restart")
        enough.set()
        for client in running:
            client.result()
    lost = [answer for answer in answers if answer.status_code == 503]
    assert len(lost) <= CLIENTS
    assert {answer.json()["reason"] for answer in lost} <= {"LIMITER_UNAVAILABLE"}
    assert {answer.status_code for answer in answers} <= {404, 429, 503}


def test_one_limiter_of_two_that_hangs_is_taken_out(mesh: Mesh, stranger: httpx.Client) -> None:
    def passes() -> bool:
        return stranger.get("/v1/chat/completions", headers={"X-API-Key": mesh.api_key}).status_code == 405

    with mesh.stopped("ratelimit-2"):
        wait_until(lambda: all(passes() for _ in range(20)), "twenty calls in a row that pass")


def test_without_limiters_closed_routes_refuse_and_open_ones_go_on_as_anonymous(
    mesh: Mesh, stranger: httpx.Client, agent: agent_pb2_grpc.AgentServiceStub
) -> None:
    key = {"X-API-Key": mesh.api_key}
    with mesh.stopped(*LIMITERS):
        closed = stranger.get("/api/v1/sessions/s-1", headers=key)
        assert (closed.status_code, closed.json()["reason"]) == (503, "LIMITER_UNAVAILABLE")
        assert closed.headers["retry-after"] == "1"
        chat = stranger.post("/v1/chat/completions", json={}, headers=key)
        assert (chat.status_code, chat.json()["error"]["code"]) == (503, "limiter_unavailable")
        with pytest.raises(grpc.RpcError) as refusal:
            agent.GetSession(pb.GetSessionRequest(session_id="s"), metadata=(("x-api-key", mesh.api_key),), timeout=60)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        for headers in (key, {}, {"X-API-Key": "sk-nosuch"}):
            models = stranger.get("/v1/models", headers=headers)
            assert (models.status_code, "ratelimit" in models.headers) == (200, False)
        assert agent.ListModels(pb.ListModelsRequest(), timeout=60).models
        assert stranger.post("/api/v1/task", json={"task": "Say hello."}, headers=key).json()["output"]
        for more in ({"session_id": "mine"}, {"user_id": "ada"}):
            kept = stranger.post("/api/v1/task", json={"task": "x", **more}, headers=key)
            assert (kept.status_code, kept.json()["reason"]) == (503, "LIMITER_UNAVAILABLE")
    wait_until(lambda: "ratelimit" in stranger.get("/v1/models", headers=key).headers, "the limiters' return")
    assert stranger.get("/v1/models", headers={"X-API-Key": "sk-nosuch"}).status_code == 401

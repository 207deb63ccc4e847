"""Who may call from outside: keys that are not good, forged identities, callers without a key."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import grpc
import httpx
import pytest

from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.backends import wait_until
from tests.e2e.grpc_calls import error_info, raw_method
from tests.mesh import Mesh

UNKNOWN = "sk-shoal-" + "a" * 43
OTHER = "sk-shoal-" + "b" * 43

T = TypeVar("T")


def first(wanted: Callable[[T], bool], ask: Callable[[], T], what: str) -> T:
    """The first answer that is wanted. Others come before it as the tokens of this address come and go."""
    answers: list[T] = []

    def is_wanted() -> bool:
        answers.append(ask())
        return wanted(answers[-1])

    wait_until(is_wanted, what)
    return answers[-1]


def is_limited(answer: httpx.Response) -> bool:
    return answer.status_code == 429


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([("X-API-Key", UNKNOWN)], "API_KEY_INVALID"),
        ([("Authorization", f"Bearer {UNKNOWN}")], "API_KEY_INVALID"),
        ([("Authorization", "Basic dXNlcjpwYXNz")], "API_KEY_INVALID"),
        ([("X-API-Key", UNKNOWN), ("X-API-Key", OTHER)], "API_KEY_AMBIGUOUS"),
        ([("X-API-Key", UNKNOWN), ("Authorization", f"Bearer {OTHER}")], "API_KEY_AMBIGUOUS"),
    ],
)
def test_a_key_that_is_not_good_is_401(headers: list[tuple[str, str]], reason: str, mesh: Mesh) -> None:
    # Each costs one of the failed look-ups of this address, and other tests make some too: 429 until one is back.
    answer = first(
        lambda answer: not is_limited(answer),
        lambda: httpx.post(f"{mesh.url}/api/v1/task", json={"task": "x"}, headers=headers),
        "a failed look-up",
    )
    assert (answer.status_code, answer.json()["reason"]) == (401, reason)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((("x-api-key", UNKNOWN),), "API_KEY_INVALID"),
        ((("x-api-key", UNKNOWN), ("authorization", f"Bearer {OTHER}")), "API_KEY_AMBIGUOUS"),
    ],
)
def test_a_key_that_is_not_good_is_unauthenticated(
    metadata: tuple[tuple[str, str], ...], reason: str, channel: grpc.Channel
) -> None:
    agent = agent_pb2_grpc.AgentServiceStub(channel)

    def refusal() -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as refused:
            agent.Execute(pb.ExecuteRequest(task="x"), metadata=metadata, timeout=60)
        return refused.value

    error = first(lambda error: error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED, refusal, "a failed look-up")
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert error_info(error).reason == f"ERROR_REASON_{reason}"


def test_a_revoked_key_is_refused(mesh: Mesh) -> None:
    secret = mesh.create_key(tenant="leaver", tier="free")
    headers = {"X-API-Key": secret}
    assert httpx.get(f"{mesh.url}/v1/models", headers=headers).status_code == 200
    mesh.shoal("keys", "revoke", mesh.key_id(secret))
    # 429 while this address has no failed look-ups left: other tests make some.
    wait_until(lambda: httpx.get(f"{mesh.url}/v1/models", headers=headers).status_code == 401, "the refusal")


def test_a_forged_identity_has_no_effect_at_the_front_door(rest: httpx.Client) -> None:
    answer = rest.post(
        "/api/v1/task", json={"task": "Say hello.", "max_tokens": 12}, headers={"x-shoal-identity": "forged.forged"}
    )
    assert answer.status_code == 200


def test_a_forged_identity_is_refused_at_every_services_own_port(mesh: Mesh) -> None:
    forged = (("x-shoal-identity", "WyJhY21lIl0.AAAA"),)
    methods = {
        "agent-1": "/shoal.agent.v1.AgentService/ListModels",
        "cache-1": "/shoal.cache.v1.CacheService/Stats",
        "ratelimit-1": "/shoal.ratelimit.v1.RateLimitService/Peek",
    }
    for process, method in methods.items():
        for metadata in ((), forged):
            with grpc.insecure_channel(f"127.0.0.1:{mesh.port(process)}") as channel:
                with pytest.raises(grpc.RpcError) as refusal:
                    raw_method(channel, method)(b"", metadata=metadata, timeout=10)
                assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED, process
    gateway = f"http://127.0.0.1:{mesh.port('gateway-1')}/api/v1/task"
    for headers in ((), forged):
        assert httpx.post(gateway, json={"task": "x"}, headers=dict(headers)).status_code == 401


def test_the_inner_listener_takes_no_forged_identity(mesh: Mesh) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{mesh.inner_port}") as channel, pytest.raises(grpc.RpcError) as refusal:
        agent_pb2_grpc.AgentServiceStub(channel).ListModels(
            pb.ListModelsRequest(), metadata=(("x-shoal-identity", "a.b"),), timeout=10
        )
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_without_a_key_the_address_is_limited(mesh: Mesh) -> None:
    over_openai = first(is_limited, lambda: httpx.get(f"{mesh.url}/v1/models"), "the limit")
    assert over_openai.json()["error"]["type"] == "rate_limit_error"
    assert int(over_openai.headers["retry-after"]) >= over_openai.json()["error"]["retry_after_seconds"]
    over_rest = first(is_limited, lambda: httpx.post(f"{mesh.url}/api/v1/task", json={}), "the limit")
    assert over_rest.json()["reason"] == "RATE_LIMITED"
    assert 0 < over_rest.json()["retry_after_seconds"] <= 1

"""Keys that are missing, guessed or replaced: the address pays before anybody is let in, and other tenants do not."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest

from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.backends import wait_until
from tests.mesh import Mesh, running_mesh
from tests.simulated_model import ModelProcess

FAILURES = 20
"""What an address may get wrong; none of it comes back while a test runs."""
GUESSES = 2000
GUESSERS = 8
MODELS = "/v1/models"


@pytest.fixture(scope="module")
def strict(model: ModelProcess) -> Iterator[Mesh]:
    """A mesh that takes nobody without a key, and believes one proxy about the address."""
    with running_mesh(
        SHOAL_MODEL_BASE_URL=f"{model.url}/v1",
        SHOAL_AGENT_REPLICAS="1",
        SHOAL_TRUSTED_HOPS="1",
        SHOAL_REQUIRE_API_KEY="true",
        SHOAL_LOOK_UPS=f"0.001/{FAILURES}",
        SHOAL_TIERS="anonymous=1/10,counted=0.001/10000",
    ) as started:
        yield started


@pytest.fixture
def http(strict: Mesh) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=strict.url, timeout=60) as client:
        yield client


def guess() -> str:
    """A key of the right form that nobody has."""
    return f"sk-shoal-{secrets.token_urlsafe(32)}"


def status(http: httpx.Client, address: str, key: str | None) -> int:
    headers = {"X-Forwarded-For": address} | ({} if key is None else {"X-API-Key": key})
    return http.get(MODELS, headers=headers).status_code


def left(http: httpx.Client, address: str, key: str) -> int:
    answer = http.get(MODELS, headers={"X-Forwarded-For": address, "X-API-Key": key})
    return int(answer.raise_for_status().headers["x-ratelimit-remaining"])


def test_without_a_key_it_is_401_until_the_address_has_asked_too_often(http: httpx.Client) -> None:
    answers = [status(http, "203.0.113.1", None) for _ in range(FAILURES + 5)]
    assert answers == [401] * FAILURES + [429] * 5


def test_without_a_key_it_is_unauthenticated_over_grpc(strict: Mesh) -> None:
    with grpc.insecure_channel(strict.grpc_target) as channel, pytest.raises(grpc.RpcError) as refusal:
        agent_pb2_grpc.AgentServiceStub(channel).ListModels(
            pb.ListModelsRequest(), metadata=(("x-forwarded-for", "203.0.113.2"),), timeout=60
        )
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_an_address_that_guesses_keys_is_stopped_before_they_are_looked_up(http: httpx.Client) -> None:
    answers = [status(http, "203.0.113.3", guess()) for _ in range(FAILURES + 5)]
    assert answers == [401] * FAILURES + [429] * 5


def test_guesses_from_one_ipv6_network_count_together(http: httpx.Client) -> None:
    answers = [status(http, f"2001:db8:7:7::{number:x}", guess()) for number in range(FAILURES + 5)]
    assert answers == [401] * FAILURES + [429] * 5


def test_an_address_that_the_proxy_did_not_write_is_not_believed(http: httpx.Client) -> None:
    answers = [status(http, f"198.51.100.{number}, 203.0.113.4", guess()) for number in range(FAILURES + 5)]
    assert answers == [401] * FAILURES + [429] * 5


def test_a_good_key_that_is_known_is_served_at_an_address_where_others_guess(strict: Mesh, http: httpx.Client) -> None:
    key = strict.create_key(tenant="neighbour", tier="counted")
    assert status(http, "203.0.113.5", key) == 200
    for _ in range(FAILURES + 5):
        status(http, "203.0.113.5", guess())
    assert status(http, "203.0.113.5", key) == 200


def test_guesses_from_ever_new_networks_throw_out_nobody_elses_bucket(strict: Mesh, http: httpx.Client) -> None:
    """Each network of a rotation has a budget of its own, so all of these are looked up; what others have spent
    stays spent."""
    key = strict.create_key(tenant="bystander", tier="counted")
    before = left(http, "203.0.113.6", key)
    with ThreadPoolExecutor(GUESSERS) as guessers:
        answers = set(guessers.map(lambda number: status(http, f"2001:db8:8:{number:x}::1", guess()), range(GUESSES)))
    assert answers <= {401, 503}
    assert left(http, "203.0.113.6", key) == before - 1


def test_a_key_is_replaced_without_a_refused_request(strict: Mesh, http: httpx.Client) -> None:
    """Both keys draw on the tenant's one bucket; when the old one is revoked, the new one goes on."""
    old = strict.create_key(tenant="careful", tier="counted")
    assert status(http, "203.0.113.7", old) == 200
    new = strict.create_key(tenant="careful", tier="counted")
    assert [status(http, "203.0.113.7", key) for key in (old, new)] == [200, 200]
    strict.shoal("keys", "revoke", strict.key_id(old))
    wait_until(lambda: status(http, "203.0.113.8", old) == 401, "the end of the old key")
    assert status(http, "203.0.113.7", new) == 200

"""Headers that claim to be somebody, or to give Envoy orders: without effect, from loopback too."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import httpx
import pytest

from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.mesh import Mesh
from tests.simulated_model import ModelProcess, Server, clients_of

VICTIM_SESSION = "victims-own"
IDENTITIES = [
    ("x-tenant-id", "victim"),
    ("x-shoal-tenant", "victim"),
    ("x-shoal-identity", "WyJ2aWN0aW0iXQ.AAAA"),
    ("x-shoal-client-address", "198.51.100.1"),
    ("x-forwarded-for", "198.51.100.1"),
    ("x-forwarded-for", "127.0.0.1, 10.0.0.1, ::1"),
    ("x-real-ip", "198.51.100.1"),
    ("forwarded", "for=198.51.100.1"),
    ("x-envoy-external-address", "198.51.100.1"),
    ("x-envoy-internal", "true"),
    ("true-client-ip", "198.51.100.1"),
    ("x-forwarded-client-cert", "By=spiffe://x;Hash=00;Subject=victim"),
]
ORDERS = [
    ("x-envoy-upstream-rq-timeout-ms", "1"),
    ("x-envoy-upstream-rq-per-try-timeout-ms", "1"),
    ("x-envoy-max-retries", "9"),
    ("x-envoy-retry-on", "5xx,gateway-error,retriable-status-codes"),
    ("x-envoy-retry-grpc-on", "internal,unavailable,cancelled"),
    ("x-envoy-retriable-status-codes", "500,502"),
    ("x-envoy-hedge-on-per-try-timeout", "true"),
    ("x-envoy-original-path", "/health"),
    ("x-envoy-decorator-operation", "forged"),
    ("x-envoy-force-trace", "true"),
    ("x-envoy-ip-tags", "forged"),
    ("x-original-url", "/health"),
    ("x-rewrite-url", "/health"),
    ("x-http-method-override", "GET"),
    ("grpc-timeout", "1m"),
]


@pytest.fixture(scope="module")
def victim(mesh: Mesh) -> str:
    """The key of a tenant that has a session."""
    key = mesh.create_key(tenant="victim", tier="bench")
    body = {"task": "Mine.", "session_id": VICTIM_SESSION}
    httpx.post(f"{mesh.url}/api/v1/task", json=body, headers={"X-API-Key": key}, timeout=60).raise_for_status()
    return key


@pytest.fixture(scope="module")
def forger(mesh: Mesh) -> str:
    return mesh.create_key(tenant="forger", tier="bench")


@pytest.fixture
async def simulated(model: ModelProcess) -> AsyncIterator[Server]:
    async with clients_of(model) as server:
        await server.calls_reach(concurrent=0, waiting=0)
        await server.http.delete("/calls")
        yield server


def named(header: tuple[str, str]) -> str:
    return f"{header[0]}: {header[1]}"[:40]


def test_the_session_is_there_for_its_owner(mesh: Mesh, victim: str) -> None:
    answer = httpx.get(f"{mesh.url}/api/v1/sessions/{VICTIM_SESSION}", headers={"X-API-Key": victim})
    assert answer.status_code == 200


@pytest.mark.parametrize("header", IDENTITIES, ids=named)
def test_a_claim_to_be_somebody_opens_nothing_over_rest(
    header: tuple[str, str], mesh: Mesh, victim: str, forger: str
) -> None:
    answer = httpx.get(f"{mesh.url}/api/v1/sessions/{VICTIM_SESSION}", headers=[("X-API-Key", forger), header])
    assert (answer.status_code, answer.json()["reason"]) == (404, "SESSION_NOT_FOUND")


@pytest.mark.parametrize("header", IDENTITIES, ids=named)
def test_a_claim_to_be_somebody_opens_nothing_over_grpc(
    header: tuple[str, str], mesh: Mesh, victim: str, forger: str
) -> None:
    with grpc.insecure_channel(mesh.grpc_target) as channel, pytest.raises(grpc.RpcError) as refusal:
        agent_pb2_grpc.AgentServiceStub(channel).GetSession(
            pb.GetSessionRequest(session_id=VICTIM_SESSION), metadata=(("x-api-key", forger), header), timeout=60
        )
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("number", range(len(IDENTITIES)), ids=lambda number: named(IDENTITIES[number]))
def test_a_claim_to_be_elsewhere_draws_on_the_same_bucket(number: int, mesh: Mesh) -> None:
    """An address of its own for each claim; with it and without it, each request takes one of the same ten tokens."""
    own = httpx.HTTPTransport(local_address=f"127.0.1.{number + 1}")
    with httpx.Client(base_url=mesh.url, transport=own, timeout=60) as stranger:
        left = [
            int(stranger.get("/v1/models", headers=headers).headers["x-ratelimit-remaining"])
            for headers in ([IDENTITIES[number]], [], [IDENTITIES[number]], [])
        ]
    assert left == [9999, 9998, 9997, 9996]


@pytest.mark.parametrize("header", ORDERS, ids=named)
async def test_an_order_to_envoy_changes_nothing(
    header: tuple[str, str], mesh: Mesh, forger: str, simulated: Server
) -> None:
    """The answer takes its time, and the failing call is made as often as without the order."""
    async with httpx.AsyncClient(base_url=mesh.url, headers={"X-API-Key": forger}, timeout=60) as client:
        slow = {"task": "Wait. [[first_token=0.05]]", "cache": {"mode": "bypass"}}
        assert (await client.post("/api/v1/task", json=slow, headers=[header])).json()["output"].startswith("Wait.")
        failing = {"task": "Fail. [[status=500]]", "cache": {"mode": "bypass"}}
        statuses, begun = [], []
        for headers in ([], [header]):
            await simulated.http.delete("/calls")
            statuses.append((await client.post("/api/v1/task", json=failing, headers=headers)).status_code)
            begun.append((await simulated.calls())["begun"])
    assert statuses[0] == statuses[1] >= 500
    assert begun[0] == begun[1]

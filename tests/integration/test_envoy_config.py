"""The rendered configuration in a real Envoy: what passes the front door, in which form, and what does not."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from envoyconf.load_balancing import LoadBalancing
from envoyconf.topology import TlsFiles
from tests import certificates
from tests.integration.front_door import (
    BURST,
    ENVOY,
    FrontDoor,
    call,
    front_door,
    get,
    logged,
    method,
    on_free_ports,
    publish_front,
    publish_mesh,
    refused,
    write_configuration,
)
from tests.integration.upstreams import BROKEN_KEY, HANGING_KEY, LIMITED_KEY, REFUSAL, REFUSE

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOLDEN = Path(__file__).parents[2] / "envoy" / "rendered" / "envoy.yaml"
EXECUTE = "/shoal.agent.v1.AgentService/Execute"
PUT_PREFERENCES = "/shoal.agent.v1.AgentService/PutPreferences"
HEALTH = "/grpc.health.v1.Health/Check"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FrontDoor]:
    async with front_door(on_free_ports(tmp_path_factory.mktemp("envoy"))) as running:
        yield running


def validated(config: Path) -> str:
    """What Envoy says about a file: nothing when it accepts it without a warning."""
    command = [ENVOY, "--mode", "validate", "--use-dynamic-base-id", "-c", str(config)]
    done = subprocess.run([*command, "--log-level", "warn"], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode == 0 else f"refused: {done.stderr}"


async def test_the_golden_file_is_accepted_without_warnings() -> None:
    assert validated(GOLDEN) == ""


async def test_tls_in_and_out_and_tracing_are_accepted_without_warnings(tmp_path: Path) -> None:
    tls = TlsFiles(cert_file="cert.pem", key_file="key.pem")
    collector = "http://127.0.0.1:4318"
    topology = replace(on_free_ports(tmp_path), tls=tls, mesh_tls=True, otlp_endpoint=collector)
    place = certificates.made(tmp_path / "certs")
    publish_front(topology, place)
    publish_mesh(topology, certificates.shown(place, "mesh"))
    assert validated(write_configuration(topology)) == ""


@pytest.mark.parametrize("setting", ["round_robin", "ring_hash:session", "maglev:address", "weights:3:1:1"])
async def test_every_way_to_spread_calls_is_accepted_without_warnings(setting: str, tmp_path: Path) -> None:
    topology = replace(on_free_ports(tmp_path), load_balancing=LoadBalancing.parse(setting))
    assert validated(write_configuration(topology)) == ""


async def test_the_limiter_s_identity_reaches_upstream_once_and_credentials_never(door: FrontDoor) -> None:
    sent = [
        ("x-shoal-identity", "forged"),
        ("x-shoal-identity", "forged too"),
        ("x-shoal-tenant", "forged"),
        ("x-api-key", "sk-1"),
        ("authorization", "Bearer sk-1"),
    ]
    _, _, body = await get(door, "/api/v1/task", *sent)
    over_grpc = await call(door.front, EXECUTE, *sent)
    for arrived in (body["headers"], over_grpc):
        ours = [value for key, value in arrived if key.lower().startswith("x-shoal-")]
        assert ours == ["signed-identity"]
        assert {"x-api-key", "authorization"}.isdisjoint(key.lower() for key, _ in arrived)


@pytest.mark.parametrize(
    ("path", "surface", "name"),
    [("/api/v1/task?task=x", "rest", "task"), ("//v1//models", "openai", "models"), ("/nosuch", "rest", "other")],
)
async def test_the_limiter_is_told_who_asks_and_how(door: FrontDoor, path: str, surface: str, name: str) -> None:
    _, headers, _ = await get(door, path, ("x-request-id", "mine"), ("X-API-Key", "sk-1"))
    assert door.limiter.asked[-1] == [
        ("masked_remote_address", "127.0.0.1/32"),
        ("surface", surface),
        ("route", name),
        ("request_id", headers["x-request-id"]),
        ("x_api_key", "sk-1"),
    ]
    assert headers["x-request-id"] != "mine"
    assert headers["ratelimit"] == '"free";r=9;t=1'


async def test_two_keys_in_one_request_are_both_seen_by_the_limiter(door: FrontDoor) -> None:
    twice = [("x-api-key", "sk-1"), ("x-api-key", "sk-2"), ("authorization", "Bearer 3"), ("authorization", "Bearer 4")]
    await get(door, "/api/v1/task", *twice)
    over_http1 = dict(door.limiter.asked[-1])
    await call(door.front, EXECUTE, *twice)
    over_http2 = dict(door.limiter.asked[-1])
    for asked, surface in ((over_http1, "rest"), (over_http2, "grpc")):
        assert (asked["x_api_key"], asked["authorization"]) == ("sk-1,sk-2", "Bearer 3,Bearer 4")
        assert asked["surface"] == surface


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/docs", "/openapi.json"])
async def test_free_paths_do_not_ask_the_limiter(door: FrontDoor, path: str) -> None:
    before = len(door.limiter.asked)
    status, _, body = await get(door, path, ("x-shoal-identity", "forged"))
    assert (status, body["path"], len(door.limiter.asked)) == (200, path, before)
    assert "x-shoal-identity" not in dict(body["headers"])


async def test_grpc_health_does_not_ask_the_limiter(door: FrontDoor) -> None:
    before = len(door.limiter.asked)
    assert await method(door.front, HEALTH)(b"") == b"\x08\x01"
    assert len(door.limiter.asked) == before


@pytest.mark.parametrize("path", ["/health/../api/v1/task", "/health/%2e%2e/api/v1/task", "/healthy"])
async def test_the_limiter_cannot_be_slipped_past(door: FrontDoor, path: str) -> None:
    before = len(door.limiter.asked)
    await get(door, path)
    assert len(door.limiter.asked) == before + 1


async def test_a_refusal_by_the_limiter_passes_untouched_over_rest(door: FrontDoor) -> None:
    for path, surface in (("/api/v1/task", "rest"), ("/v1/models", "openai")):
        status, headers, body = await get(door, path, ("x-api-key", LIMITED_KEY))
        assert (status, body) == (429, {surface: REFUSAL})
        assert (headers["content-type"], headers["retry-after"]) == ("application/json", "1")


async def test_a_refusal_by_the_limiter_is_a_rich_status_over_grpc(door: FrontDoor) -> None:
    error = await refused(door.front, EXECUTE, ("x-api-key", LIMITED_KEY))
    assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, REFUSAL)
    trailers = dict(error.trailing_metadata())
    assert (trailers["retry-after"], trailers["grpc-retry-pushback-ms"]) == ("1", "700")
    retry, status = error_details_pb2.RetryInfo(), rpc_status.from_call(error)
    assert status is not None
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 700


@pytest.mark.parametrize("key", [BROKEN_KEY, HANGING_KEY])
async def test_without_the_limiter_nothing_passes(door: FrontDoor, key: str) -> None:
    status, headers, body = await get(door, "/api/v1/task", ("x-api-key", key))
    assert (status, body["code"], body["reason"]) == (503, "UNAVAILABLE", "LIMITER_UNAVAILABLE")
    assert body["request_id"] == headers["x-request-id"]
    error = await refused(door.front, EXECUTE, ("x-api-key", key))
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert error.details() == body["error"]


async def test_errors_of_envoy_have_the_shape_of_our_api(door: FrontDoor) -> None:
    status, headers, body = await get(door, "/api/v1/broken")
    assert (status, headers["content-type"]) == (503, "application/json")
    assert body == {
        "error": "The service cannot be reached at the moment. Try again shortly.",
        "code": "UNAVAILABLE",
        "reason": "SERVICE_UNAVAILABLE",
        "field": "",
        "request_id": headers["x-request-id"],
    }
    status, _, body = await get(door, "/api%2fv1")
    assert (status, body["code"], body["reason"]) == (400, "INVALID_ARGUMENT", "MALFORMED_REQUEST")


async def test_errors_of_envoy_have_openai_s_shape_below_v1(door: FrontDoor) -> None:
    status, _, body = await get(door, "/v1/broken")
    message = "The service cannot be reached at the moment. Try again shortly."
    error = {"message": message, "type": "server_error", "param": None, "code": "service_unavailable"}
    assert (status, body) == (503, {"error": error})


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8:1:2::a"])
async def test_a_flood_from_one_address_is_stopped_before_the_limiter(door: FrontDoor, address: str) -> None:
    forwarded = ("x-forwarded-for", address)
    neighbour = ("x-forwarded-for", address.replace("::a", "::b"))
    statuses = [(await get(door, "/health", forwarded))[0] for _ in range(BURST)]
    assert statuses == [200] * BURST
    status = 200
    async with asyncio.timeout(20):  # a token comes back each second
        while status == 200:
            status, headers, body = await get(door, "/api/v1/task", neighbour)
    assert status == 429
    assert (headers["retry-after"], body["code"], body["reason"]) == ("1", "RESOURCE_EXHAUSTED", "RATE_LIMITED")
    assert (await get(door, "/health"))[0] == 200


async def test_headers_for_envoy_have_no_effect_from_loopback(door: FrontDoor) -> None:
    sent = ("x-envoy-internal", "true"), ("x-envoy-original-path", "/"), ("x-envoy-expected-rq-timeout-ms", "1")
    _, _, body = await get(door, "/api/v1/task", *sent)
    assert {key.lower() for key, _ in body["headers"] if key.lower().startswith("x-envoy-")} == {
        "x-envoy-external-address"
    }


@pytest.fixture
def one_drains(door: FrontDoor) -> Iterator[None]:
    """The first replica refuses all calls, and its health checks do not show it yet."""
    door.agents[0].draining = True
    yield
    door.agents[0].draining = False


@pytest.mark.usefixtures("one_drains")
async def test_a_call_that_a_draining_replica_refuses_is_answered_by_another(door: FrontDoor) -> None:
    replicas = set()
    for _ in range(40):
        execute = method(door.inner, EXECUTE)(b"")
        await execute
        replicas.add(dict(await execute.initial_metadata())["x-shoal-replica"])
    assert replicas == {"agent-2", "agent-3"}


@pytest.mark.parametrize(("rpc", "again"), [(EXECUTE, True), (PUT_PREFERENCES, False)])
@pytest.mark.parametrize("listener", ["front", "inner"])
async def test_a_write_that_may_have_been_done_is_not_made_again(
    door: FrontDoor, listener: str, rpc: str, again: bool
) -> None:
    before = len(door.arrived)
    error = await refused(getattr(door, listener), rpc, REFUSE)
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    attempts = door.arrived[before:]
    assert {called for _, called in attempts} == {rpc}
    assert (len(attempts) > 1) is again


async def test_the_inner_listener_passes_identity_request_id_and_trace(door: FrontDoor) -> None:
    carried = {
        "x-shoal-identity": "signed-identity",
        "x-request-id": "7f3c0de0-3fd0-4f6b-8a55-0a5b1f6b2d11",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    arrived = dict(await call(door.inner, EXECUTE, *carried.items()))
    assert carried.items() <= arrived.items()


async def test_services_of_the_inside_are_unknown_at_the_front_door(door: FrontDoor) -> None:
    error = await refused(door.front, "/shoal.cache.v1.CacheService/Open")
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_json_is_compressed_for_those_who_accept_it(door: FrontDoor) -> None:
    long = ("x-long", "x" * 2000)
    _, headers, body = await get(door, "/api/v1/task", long, ("accept-encoding", "gzip"))
    assert headers["content-encoding"] == "gzip"
    assert ["x-long", long[1]] in body["headers"]


async def test_the_access_log_has_the_request_id_and_no_query(door: FrontDoor) -> None:
    _, headers, _ = await get(door, "/api/v1/task?task=secret", ("x-api-key", "sk-secret"))
    line = await logged(door, lambda entry: entry["request_id"] == headers["x-request-id"])
    assert (line["path"], line["code"], line["details"]) == ("/api/v1/task", 200, "via_upstream")
    assert isinstance(line["limiter_ms"], int)
    assert "secret" not in door.log.read_text()

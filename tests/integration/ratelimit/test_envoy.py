"""What Envoy is told, by a real limiter over Valkey and SQLite."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from meshkit.channel import open_channel
from meshkit.identity import Authentication
from services.ratelimit import keys
from shoal.external.rls_pb2 import RateLimitRequest, RateLimitResponse
from tests.backends import wait_until
from tests.integration.ratelimit.ratelimit_process import (
    RatelimitProcess,
    ask,
    ask_raw,
    create_key,
    environ,
    identity_in,
    revoke_key,
    started,
)

OK, OVER_LIMIT = RateLimitResponse.OK, RateLimitResponse.OVER_LIMIT
UNKNOWN = keys.new_secret(b"u" * 32)


def headers_of(response: RateLimitResponse) -> dict[str, str]:
    return {header.key: header.value for header in response.response_headers_to_add}


async def refused(limiter: RatelimitProcess, address: str, surface: str) -> RateLimitResponse:
    """The first refusal of an anonymous caller."""
    for _ in range(3):
        assert (await ask(limiter, address, surface=surface)).overall_code == OK
    response = await ask(limiter, address, surface=surface)
    assert response.overall_code == OVER_LIMIT
    return response


async def test_an_anonymous_request_is_named_after_its_address(limiter: RatelimitProcess, address: str) -> None:
    response = await ask(limiter, address)
    assert response.overall_code == OK
    assert [status.code for status in response.statuses] == [OK]
    identity = identity_in(response)
    assert identity.authentication is Authentication.ANONYMOUS
    assert (identity.tier, identity.key_id) == ("anonymous", address)
    assert headers_of(response)["ratelimit"] == '"anonymous";r=2;t=1000'
    assert headers_of(response)["ratelimit-policy"] == '"anonymous";q=3;w=3000'


@pytest.mark.parametrize("header", ["x_api_key", "authorization"])
async def test_a_request_with_a_key_is_named_after_its_tenant(
    limiter: RatelimitProcess, address: str, header: str
) -> None:
    created = await create_key(limiter, tier="premium")
    value = created.secret if header == "x_api_key" else f"Bearer {created.secret}"
    response = await ask(limiter, address, **{header: value})
    assert response.overall_code == OK
    identity = identity_in(response)
    assert (identity.tenant, identity.tier, identity.key_id) == ("acme", "premium", created.api_key.id)
    assert identity.authentication is Authentication.API_KEY


async def test_rest_is_refused_in_json(limiter: RatelimitProcess, address: str) -> None:
    response = await refused(limiter, address, "rest")
    body = msgspec.json.decode(response.raw_body)
    assert (body["code"], body["reason"], body["request_id"]) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED", "r-1")
    assert 900 < body["retry_after_seconds"] <= 1000
    headers = headers_of(response)
    assert headers["content-type"] == "application/json"
    assert 0 <= int(headers["retry-after"]) - body["retry_after_seconds"] < 1


async def test_openai_clients_are_refused_in_their_json(limiter: RatelimitProcess, address: str) -> None:
    response = await refused(limiter, address, "openai")
    error = msgspec.json.decode(response.raw_body)["error"]
    assert error["code"] == "rate_limited"
    assert 0 <= int(headers_of(response)["retry-after"]) - error["retry_after_seconds"] < 1
    assert headers_of(response)["content-type"] == "application/json"


async def test_grpc_clients_are_refused_with_details(limiter: RatelimitProcess, address: str) -> None:
    response = await refused(limiter, address, "grpc")
    details = headers_of(response)["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    assert status.message == response.raw_body.decode()


@pytest.mark.parametrize("guess", [UNKNOWN, "sk-nobody"])
async def test_guessed_keys_pass_marked_until_their_budget_is_spent(
    limiter: RatelimitProcess, address: str, guess: str
) -> None:
    for _ in range(3):
        response = await ask(limiter, address, x_api_key=guess)
        assert identity_in(response).authentication is Authentication.UNKNOWN_KEY
    response = await ask(limiter, address, x_api_key=guess)
    assert response.overall_code == OVER_LIMIT
    assert not response.request_headers_to_add
    assert (await ask(limiter, address)).overall_code == OK


async def test_two_different_keys_pass_marked(limiter: RatelimitProcess, address: str) -> None:
    secret = (await create_key(limiter)).secret
    two_headers = await ask(limiter, address, x_api_key=secret, authorization=f"Bearer {UNKNOWN}")
    assert identity_in(two_headers).authentication is Authentication.SEVERAL_KEYS
    one_header_twice = await ask(limiter, address, x_api_key=f"{secret},{UNKNOWN}")
    assert identity_in(one_header_twice).authentication is Authentication.SEVERAL_KEYS
    same_twice = await ask(limiter, address, x_api_key=secret, authorization=f"Bearer {secret}")
    assert identity_in(same_twice).authentication is Authentication.API_KEY


async def test_a_revoked_key_is_unknown_at_once(limiter: RatelimitProcess, address: str) -> None:
    created = await create_key(limiter)
    assert identity_in(await ask(limiter, address, x_api_key=created.secret)).tenant == "acme"
    await revoke_key(limiter, created.api_key.id)
    after = identity_in(await ask(limiter, address, x_api_key=created.secret))
    assert after.authentication is Authentication.UNKNOWN_KEY
    assert after.tenant != "acme"


async def test_another_domain_is_refused(limiter: RatelimitProcess) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await ask_raw(limiter, RateLimitRequest(domain="other"))
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_decisions_are_logged_and_counted_without_the_key(limiter: RatelimitProcess, address: str) -> None:
    created = await create_key(limiter, tenant="logged", tier="premium")
    sample = 'shoal_ratelimit_decisions_total{outcome="allowed",tier="premium"}'
    before = limiter.metrics().get(sample, 0)
    await ask(limiter, address, x_api_key=created.secret)
    assert limiter.metrics()[sample] == before + 1

    def told() -> list[dict[str, Any]]:
        return [line for line in limiter.log_lines("decision") if line["tenant"] == "logged"]

    await asyncio.to_thread(wait_until, lambda: bool(told()), "the line of the decision")
    (line,) = told()
    assert (line["request_id"], line["outcome"], line["tier"]) == ("r-1", "allowed", "premium")
    assert created.secret.encode() not in limiter.log_file.read_bytes()


async def test_both_ports_say_that_they_serve(limiter: RatelimitProcess) -> None:
    services = {
        limiter.address: "shoal.ratelimit.v1.RateLimitService",
        limiter.envoy_address: "envoy.service.ratelimit.v3.RateLimitService",
    }
    for address, name in services.items():
        async with open_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_both_servers_drain_at_once(valkey_url: str, tmp_path: Path) -> None:
    with started(environ(tmp_path, redis_url=valkey_url)) as stopping:
        pass
    events = [line["event"] for line in stopping.log_lines("draining", "stopped")]
    assert events == ["draining", "draining", "stopped", "stopped"]


async def test_where_a_key_is_required_a_request_without_one_passes_marked(
    valkey_url: str, tmp_path: Path, address: str
) -> None:
    with started(environ(tmp_path, redis_url=valkey_url) | {"SHOAL_REQUIRE_API_KEY": "true"}) as strict:
        identity = identity_in(await ask(strict, address))
    assert identity.authentication is Authentication.MISSING_KEY

"""What happens around every REST request: identity, unknown paths and methods, the pages that need no key, metrics."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from load.measuring.ports import free_port
from meshkit.identity import HEADER, Authentication
from tests.backends import wait_until
from tests.integration.gateway.gateway_process import GatewayProcess, running_gateway
from tests.integration.gateway.scripted_agent import ScriptedAgent
from tests.mesh_identity import FORGER, Metadata, signed

pytestmark = pytest.mark.asyncio(loop_scope="package")

TASK = "/api/v1/task"
CHAT = "/v1/chat/completions"

CALLERS: dict[str, tuple[Metadata, str]] = {
    "none": ((), "IDENTITY_INVALID"),
    "forged": (signed(signer=FORGER), "IDENTITY_INVALID"),
    "expired": (signed(lifetime_seconds=-1), "IDENTITY_INVALID"),
    "garbage": (((HEADER, "x.y"),), "IDENTITY_INVALID"),
    "two": (signed() + signed("rival"), "IDENTITY_INVALID"),
    "two in one": (((HEADER, ",".join(value for _, value in signed() + signed("rival"))),), "IDENTITY_INVALID"),
    "unknown key": (signed(authentication=Authentication.UNKNOWN_KEY), "API_KEY_INVALID"),
    "two keys": (signed(authentication=Authentication.SEVERAL_KEYS), "API_KEY_AMBIGUOUS"),
    "no key where one is needed": (signed(authentication=Authentication.MISSING_KEY), "API_KEY_REQUIRED"),
}


@pytest.mark.parametrize("caller", CALLERS)
async def test_who_is_not_known_gets_401_in_the_shape_of_the_api(
    gateway: GatewayProcess, agent: ScriptedAgent, caller: str
) -> None:
    headers, reason = CALLERS[caller]
    before = len(agent.asked)
    async with gateway.client(headers) as stranger:
        native = await stranger.post(TASK, json={"task": "Let me in."})
        openai = await stranger.post(CHAT, json={"model": "m", "messages": [{"role": "user", "content": "Please."}]})
        unknown = await stranger.get("/api/v1/nothing")
    assert (native.status_code, native.json()["code"], native.json()["reason"]) == (401, "UNAUTHENTICATED", reason)
    assert (openai.status_code, openai.json()["error"]["code"]) == (401, reason.lower())
    assert unknown.status_code == 401
    assert len(agent.asked) == before


@pytest.mark.parametrize(
    "path", ["/", "/api/v1", "/api/v1/tasks", "/api/v1/task/", "/api/v1/sessions/a/b", "//api/v1/task"]
)
async def test_a_path_with_nothing_at_it_is_404_in_our_shape(http: httpx.AsyncClient, path: str) -> None:
    response = await http.get(httpx.URL(str(http.base_url)).copy_with(raw_path=path.encode()))
    assert (response.status_code, response.json()["reason"]) == (404, "PATH_NOT_FOUND")


async def test_under_v1_a_404_is_in_openais_shape(http: httpx.AsyncClient) -> None:
    response = await http.get("/v1/nothing")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "path_not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", TASK, {"GET", "HEAD", "POST"}),
        ("DELETE", TASK, {"GET", "HEAD", "POST"}),
        ("POST", "/api/v1/sessions/s", {"GET", "HEAD", "DELETE"}),
        ("DELETE", "/api/v1/users/u/preferences", {"GET", "HEAD", "PUT"}),
        ("POST", "/health", {"GET", "HEAD"}),
        ("OPTIONS", TASK, {"GET", "HEAD", "POST"}),
    ],
)
async def test_a_wrong_method_is_405_and_all_right_ones_are_named(
    http: httpx.AsyncClient, method: str, path: str, allowed: set[str]
) -> None:
    response = await http.request(method, path)
    assert (response.status_code, response.json()["reason"]) == (405, "METHOD_NOT_ALLOWED")
    assert set(response.headers["allow"].split(", ")) == allowed


async def test_under_v1_a_405_is_in_openais_shape(http: httpx.AsyncClient) -> None:
    response = await http.get(CHAT)
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "path", ["/health", "/health/ready", "/docs", "/openapi.json", f"{TASK}?task=Hello", "/v1/models"]
)
async def test_head_is_get_without_the_body(http: httpx.AsyncClient, path: str) -> None:
    head, get = await http.head(path), await http.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize("headers", [(), signed(signer=FORGER)], ids=["without", "with a forged"])
async def test_health_and_the_description_are_for_everybody(gateway: GatewayProcess, headers: Metadata) -> None:
    async with gateway.client(headers) as anybody:
        alive, ready = await anybody.get("/health"), await anybody.get("/health/ready")
        docs, described = await anybody.get("/docs"), await anybody.get("/openapi.json")
        nothing = await anybody.get("/health/nothing")
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    assert docs.headers["content-type"] == "text/html; charset=utf-8"
    assert described.json()["openapi"].startswith("3.1")
    assert nothing.status_code == 404


async def test_the_page_loads_nothing_from_elsewhere(http: httpx.AsyncClient) -> None:
    assert "//" not in (await http.get("/docs")).text.replace("// Everything", "")


async def test_requests_are_counted_by_method_and_status(gateway: GatewayProcess, http: httpx.AsyncClient) -> None:
    before = await asyncio.to_thread(gateway.counted, "DELETE", 405)
    await http.delete(TASK)
    await asyncio.to_thread(wait_until, lambda: gateway.counted("DELETE", 405) == before + 1, "the count")


async def test_a_client_that_leaves_is_counted_as_gone_and_not_as_a_fault(
    gateway: GatewayProcess, agent: ScriptedAgent
) -> None:
    before = await asyncio.to_thread(gateway.counted, "POST", 499)
    faults = await asyncio.to_thread(gateway.counted, "POST", 500)
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = f"POST {TASK} HTTP/1.1\r\nhost: shoal\r\ncontent-length: 100\r\n{HEADER}: {dict(signed())[HEADER]}\r\n\r\n"
    writer.write(head.encode() + b'{"task": "I am')
    await writer.drain()
    writer.close()
    gone = f"the count of a client that left {TASK}"
    await asyncio.to_thread(wait_until, lambda: gateway.counted("POST", 499) == before + 1, gone)
    assert await asyncio.to_thread(gateway.counted, "POST", 500) == faults


async def test_the_log_has_the_request_id_and_nothing_of_what_was_asked_or_answered(
    agent: ScriptedAgent, agent_port: int, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        async with (
            running_gateway(tmp_path, mesh_port=agent_port, output=output, SHOAL_LOG_LEVEL="debug") as gateway,
            gateway.client([*signed(), ("x-request-id", "request-9")]) as client,
        ):
            await client.get(TASK, params={"task": "a secret wish"})
            await client.post(TASK, json={"task": "a secret wish", "stream": True})
            await client.post(TASK, content=b'{"task": "a secret wish", "secret field": 1')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert "secret" not in log.read_text()
    assert [(line["method"], line["status"], line["request_id"]) for line in lines if line["event"] == "http"] == [
        ("GET", 200, "request-9"),
        ("POST", 200, "request-9"),
        ("POST", 400, "request-9"),
    ]


@pytest_asyncio.fixture(loop_scope="package")
async def lonely(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway that reaches no agent."""
    async with running_gateway(tmp_path, mesh_port=free_port()) as gateway, gateway.client() as client:
        yield client


async def test_without_an_agent_the_gateway_is_alive_and_not_ready_and_says_503(lonely: httpx.AsyncClient) -> None:
    assert (await lonely.get("/health")).status_code == 200
    ready = await lonely.get("/health/ready")
    assert (ready.status_code, ready.json()) == (503, {"status": "not ready"})
    bodies: list[tuple[str, dict[str, Any]]] = [
        (TASK, {"task": "Hello"}),
        (TASK, {"task": "Hello", "stream": True}),
        (CHAT, {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}),
    ]
    for path, body in bodies:
        response = await lonely.post(path, json=body)
        assert response.status_code == 503
        assert "service_unavailable" in response.text.lower()

"""Limits in a real Envoy: which bucket a request is counted in, and what passes without the limiter."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from envoyconf.topology import FailOpen
from tests.integration.front_door import (
    BURST,
    FrontDoor,
    call,
    front_door,
    get,
    on_free_ports,
    refused,
)
from tests.integration.upstreams import BROKEN_KEY, HANGING_KEY, LIMITED_KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGENT = "/shoal.agent.v1.AgentService/"
UNCHECKED = "unchecked-identity"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FrontDoor]:
    async with front_door(on_free_ports(tmp_path_factory.mktemp("envoy"))) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def open_door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FrontDoor]:
    """Two routes fail open, and nobody's X-Forwarded-For is believed."""
    fail_open = FailOpen(routes=frozenset({"task", "models"}), identity=UNCHECKED)
    on_ports = on_free_ports(tmp_path_factory.mktemp("open"))
    async with front_door(replace(on_ports, fail_open=fail_open, trusted_hops=0)) as running:
        yield running


def asked(door: FrontDoor) -> dict[str, str]:
    """What the limiter was told last."""
    return dict(door.limiter.asked[-1])


async def raw_get(door: FrontDoor, target: bytes, *headers: bytes) -> tuple[bytes, Any]:
    """The status line and the JSON body of a request that is sent byte by byte as it stands here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.topology.envoy.front)
    lines = [b"GET %b HTTP/1.1" % target, b"host: shoal", b"connection: close", *headers, b"", b""]
    writer.write(b"\r\n".join(lines))
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    # The echo has no body larger than one chunk.
    return head.split(b"\r\n")[0], json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])


def identities(arrived: list[list[str]] | list[tuple[str, str]]) -> list[str]:
    """Every value of the identity header that reached upstream."""
    return [value for key, value in arrived if key.lower() == "x-shoal-identity"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/v1/task", "task"),
        ("/api/v1/tasks", "other"),
        ("/v1/chat/completions", "chat"),
        ("/v1/models", "models"),
        ("/v1/models/any", "models"),
        ("/v1/embeddings", "other"),
        ("/api/v1/sessions/s-1", "sessions"),
        ("/api/v1/users/ada/preferences", "preferences"),
        ("/nosuch", "other"),
    ],
)
async def test_each_rest_path_is_counted_under_the_name_of_its_route(door: FrontDoor, path: str, name: str) -> None:
    await get(door, path)
    assert asked(door)["route"] == name


@pytest.mark.parametrize(
    ("rpc", "name"),
    [
        ("Execute", "task"),
        ("ExecuteStream", "task"),
        ("ListModels", "models"),
        ("GetSession", "sessions"),
        ("DeleteSession", "sessions"),
        ("GetPreferences", "preferences"),
        ("PutPreferences", "preferences"),
        ("Nosuch", "other"),
    ],
)
async def test_each_rpc_is_counted_under_the_name_of_its_route(door: FrontDoor, rpc: str, name: str) -> None:
    await call(door.front, AGENT + rpc)
    assert asked(door)["route"] == name


@pytest.mark.parametrize(
    "target",
    [
        b"//api///v1//task",
        b"/api/v1/./task",
        b"/api/v1/sessions/../task",
        b"/api/v1/sessions/%2E%2e/task",
        b"/health/../api/v1/task",
        b"/health/..;/api/v1/task",
        b"/health\\..\\api\\v1\\task",
        b"/api/v1/%74as%6B",
        b"http://elsewhere/api/v1/task",
    ],
)
async def test_another_spelling_of_a_path_is_made_the_one_that_is_counted(door: FrontDoor, target: bytes) -> None:
    before = len(door.limiter.asked)
    _, echo = await raw_get(door, target)
    assert (echo["path"], len(door.limiter.asked)) == ("/api/v1/task", before + 1)
    assert asked(door)["route"] == "task"


@pytest.mark.parametrize("target", [b"/api/v1/task;x", b"/API/v1/task", b"/api/v1/%2574ask", b"/health;x", b"/Health"])
async def test_a_path_that_only_looks_like_another_reaches_upstream_as_itself(door: FrontDoor, target: bytes) -> None:
    before = len(door.limiter.asked)
    _, echo = await raw_get(door, target)
    assert (echo["path"], len(door.limiter.asked)) == (target.decode(), before + 1)
    assert asked(door)["route"] == "other"


@pytest.mark.parametrize(
    "target", [b"/api/v1%2ftask", b"/health%5c..%5capi", b"/api/v1/task#x", b"/api/v1/task%00", b"*"]
)
async def test_a_path_with_two_meanings_is_refused(door: FrontDoor, target: bytes) -> None:
    status_line, body = await raw_get(door, target)
    assert b" 400 " in status_line
    assert body["reason"] == "MALFORMED_REQUEST"


async def test_a_query_changes_no_route(door: FrontDoor) -> None:
    await raw_get(door, b"/api/v1/task?/../../health")
    assert asked(door)["route"] == "task"
    before = len(door.limiter.asked)
    _, echo = await raw_get(door, b"/health?/../api/v1/task")
    assert (echo["path"], len(door.limiter.asked)) == ("/health?/../api/v1/task", before)


@pytest.mark.parametrize(
    ("key", "told"),
    [(b"sk-\xff\xfe", r"sk-\xff\xfe"), (b"k" * 10_240, "k" * 10_240), (b"", ""), ("ключ".encode(), "ключ")],
)
async def test_the_limiter_is_told_a_key_of_any_form_as_it_came(door: FrontDoor, key: bytes, told: str) -> None:
    status_line, _ = await raw_get(door, b"/api/v1/task", b"x-api-key: " + key)
    assert b" 200 " in status_line
    assert asked(door)["x_api_key"] == told


@pytest.mark.parametrize("header", [b"x-api-key: sk\x00-1", b"x-api-key : sk-1"])
async def test_a_key_that_is_no_header_value_is_refused(door: FrontDoor, header: bytes) -> None:
    before = len(door.limiter.asked)
    status_line, _ = await raw_get(door, b"/api/v1/task", header)
    assert (b" 400 " in status_line, len(door.limiter.asked)) == (True, before)


async def test_a_header_with_underscores_is_no_key_and_ends_here(door: FrontDoor) -> None:
    _, echo = await raw_get(door, b"/api/v1/task", b"X_API_KEY: sk-1", b"x_shoal_identity: forged")
    assert "x_api_key" not in asked(door)
    assert not [key for key, _ in echo["headers"] if "_" in key]


async def test_a_trusted_proxy_tells_the_address_and_ipv6_counts_by_64(door: FrontDoor) -> None:
    told = []
    for forwarded in ("203.0.113.9", "198.51.100.1, 203.0.113.9", "2001:db8:9:9::a", "2001:db8:9:9:ffff::b"):
        await get(door, "/api/v1/task", ("x-forwarded-for", forwarded))
        told.append(asked(door)["masked_remote_address"])
    assert told == ["203.0.113.9/32", "203.0.113.9/32", "2001:db8:9:9::/64", "2001:db8:9:9::/64"]


async def test_a_strangers_word_about_the_address_is_ignored(open_door: FrontDoor) -> None:
    await get(open_door, "/api/v1/sessions/s-1", ("x-forwarded-for", "203.0.113.9"), ("x-real-ip", "203.0.113.9"))
    assert asked(open_door)["masked_remote_address"] == "127.0.0.1/32"


@pytest.mark.parametrize("key", [BROKEN_KEY, HANGING_KEY])
async def test_a_route_that_fails_open_goes_on_unchecked(open_door: FrontDoor, key: str) -> None:
    sent = [("x-api-key", key), ("x-shoal-identity", "forged"), ("x-shoal-identity", "forged too")]
    for path in ("/api/v1/task", "/v1/models"):
        status, headers, echo = await get(open_door, path, *sent)
        assert (status, identities(echo["headers"])) == (200, [UNCHECKED])
        assert "x-api-key" not in {name.lower() for name, _ in echo["headers"]}
        assert "ratelimit" not in headers
    assert identities(await call(open_door.front, AGENT + "Execute", *sent)) == [UNCHECKED]


async def test_on_a_route_that_fails_open_the_limiters_word_holds(open_door: FrontDoor) -> None:
    status, headers, echo = await get(open_door, "/api/v1/task", ("x-shoal-identity", "forged"))
    assert (status, identities(echo["headers"])) == (200, ["signed-identity"])
    assert headers["ratelimit"] == '"free";r=9;t=1'
    assert identities(await call(open_door.front, AGENT + "Execute")) == ["signed-identity"]
    status, _, _ = await get(open_door, "/api/v1/task", ("x-api-key", LIMITED_KEY))
    assert status == 429
    error = await refused(open_door.front, AGENT + "Execute", ("x-api-key", LIMITED_KEY))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_on_a_route_that_fails_open_the_limiter_is_asked_once(open_door: FrontDoor) -> None:
    before = len(open_door.limiter.asked)
    for path in ("/api/v1/task", "/v1/chat/completions"):
        await get(open_door, path)
    assert len(open_door.limiter.asked) == before + 2


async def test_the_other_routes_stay_closed(open_door: FrontDoor) -> None:
    for path in ("/v1/chat/completions", "/api/v1/sessions/s-1", "/api/v1/tasks", "/api/v1/task;x"):
        status, _, _ = await get(open_door, path, ("x-api-key", BROKEN_KEY))
        assert status == 503
    error = await refused(open_door.front, AGENT + "GetSession", ("x-api-key", BROKEN_KEY))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    _, _, echo = await get(open_door, "/health", ("x-shoal-identity", "forged"))
    assert identities(echo["headers"]) == []


async def test_the_flood_guard_holds_on_a_route_that_fails_open(open_door: FrontDoor) -> None:
    statuses = [(await get(open_door, "/v1/models", ("x-api-key", BROKEN_KEY)))[0] for _ in range(BURST)]
    assert set(statuses) == {200, 429}


async def test_a_limiter_that_is_gone_costs_no_call_that_came_after_it(tmp_path: Path) -> None:
    async with front_door(on_free_ports(tmp_path, limiters=2)) as door:
        await asyncio.gather(*[get(door, "/api/v1/task") for _ in range(30)])
        await door.limiters[0].aclose()
        # Sooner than a health check: Envoy takes it for alive, and for the less busy one.
        answers = await asyncio.gather(*[get(door, "/api/v1/task") for _ in range(30)])
        assert {status for status, _, _ in answers} == {200}


async def test_without_any_limiter_a_closed_route_refuses_and_says_when_to_try_again(tmp_path: Path) -> None:
    async with front_door(on_free_ports(tmp_path, limiters=2)) as door:
        for limiter in door.limiters:
            await limiter.aclose()
        status, headers, body = await get(door, "/api/v1/task")
        assert (status, body["reason"], headers["retry-after"]) == (503, "LIMITER_UNAVAILABLE", "1")
        status, headers, body = await get(door, "/v1/models")
        assert (status, body["error"]["code"], headers["retry-after"]) == (503, "limiter_unavailable", "1")
        error = await refused(door.front, AGENT + "Execute")
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert dict(error.trailing_metadata())["retry-after"] == "1"

"""What the gateway repeats without asking an agent: over all surfaces, and never to others or for too long."""

import asyncio
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio

from meshkit.identity import Authentication
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.gateway.gateway_process import TIMEOUT_SECONDS, GatewayProcess, running_gateway
from tests.integration.gateway.scripted_agent import KEY, USAGE, ScriptedAgent
from tests.mesh_identity import Metadata, signed

pytestmark = pytest.mark.asyncio(loop_scope="package")

TASK = "/api/v1/task"
CHAT = "/v1/chat/completions"
AGE_SECONDS = 100.0
HIT = pb.CacheReport(
    status=pb.CACHE_STATUS_HIT, level="l1", age_seconds=AGE_SECONDS, key=KEY, ttl_seconds=3600, stale_seconds=60
)

Ask = Callable[..., Awaitable[httpx.Response]]


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def near(
    agent: ScriptedAgent, agent_port: int, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GatewayProcess]:
    """A gateway that repeats what was found for as long as it may."""
    folder = tmp_path_factory.mktemp("near")
    async with running_gateway(folder, mesh_port=agent_port, SHOAL_NEAR_CACHE_SECONDS="0.7") as gateway:
        yield gateway


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def http(near: GatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with near.client() as client:
        yield client


@pytest.fixture
def task(agent: ScriptedAgent, request: pytest.FixtureRequest) -> str:
    """A task of the test's own, whose answer is in the cache."""
    agent.caches[request.node.name] = HIT
    return str(request.node.name)


def asking(http: httpx.AsyncClient, surface: str, task: str) -> Ask:
    async def ask(headers: Metadata = (), **fields: Any) -> httpx.Response:
        if surface == "get":
            return await http.get(TASK, params={"task": task, **fields}, headers=headers)
        if surface == "post":
            return await http.post(TASK, json={"task": task, **fields}, headers=headers)
        messages = [{"role": "user", "content": task}]
        return await http.post(CHAT, json={"model": "m", "messages": messages, **fields}, headers=headers)

    return ask


async def repeated(ask: Ask, headers: Metadata = (), **fields: Any) -> httpx.Response:
    """An answer that was repeated: on a busy machine the one that was found may be over before it is asked for."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            answer = await ask(headers, **fields)
            if answer.headers["x-shoal-cache"] == "hit; level=near":
                return answer


@pytest.mark.parametrize("surface", ["post", "get", "chat"])
async def test_what_was_found_is_repeated_by_the_gateway_itself(
    http: httpx.AsyncClient, task: str, surface: str
) -> None:
    ask = asking(http, surface, task)
    found, again = await ask(), await repeated(ask)
    assert (again.status_code, again.headers["x-shoal-replica"]) == (200, "gateway-1")
    assert again.headers["x-shoal-cache-key"] == found.headers["x-shoal-cache-key"] == KEY
    assert again.headers["cache-control"] == found.headers["cache-control"]
    first, second = found.json(), again.json()
    assert first.keys() == second.keys()
    same = {"model", "output", "finish_reason", "tool_calls", "usage", "choices", "object", "session_id", "why"}
    assert {name: first[name] for name in same & first.keys()} == {name: second[name] for name in same & first.keys()}
    assert first["id"] != second["id"]
    assert abs(second["created"] - time.time()) < TIMEOUT_SECONDS


async def test_it_says_so_and_its_age_goes_on_growing(http: httpx.AsyncClient, task: str) -> None:
    told = (await repeated(asking(http, "post", task))).json()
    assert (told["cache"]["status"], told["cache"]["level"], told["cache"]["key"]) == ("hit", "near", KEY)
    assert AGE_SECONDS < told["cache"]["age_seconds"] < AGE_SECONDS + 0.7
    assert (told["cache"]["ttl_seconds"], told["cache"]["stale"], told["replica"]) == (3600, False, "gateway-1")


async def test_a_get_of_it_is_conditional(http: httpx.AsyncClient, task: str) -> None:
    ask = asking(http, "get", task)
    etag = (await ask()).headers["etag"]
    again = await repeated(ask, (("if-none-match", etag),))
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert int(again.headers["age"]) == AGE_SECONDS


async def test_only_if_cached_is_answered_by_it(http: httpx.AsyncClient, task: str) -> None:
    assert (await repeated(asking(http, "post", task), (("cache-control", "only-if-cached"),))).status_code == 200


@pytest.mark.parametrize(
    "other",
    [
        {"headers": signed("another")},
        {"headers": signed(authentication=Authentication.UNCHECKED)},
        {"headers": (("cache-control", "no-store"),)},
        {"headers": (("cache-control", "no-cache"),)},
        {"headers": (("shoal-cache-tags", "prices"),)},
        {"temperature": 0.5},
        {"model": "big"},
        {"context": {"a": 1}},
        {"session_id": "s"},
        {"user_id": "u"},
        {"stream": True},
    ],
)
async def test_whoever_asks_otherwise_is_answered_by_the_agent(
    http: httpx.AsyncClient, agent: ScriptedAgent, task: str, other: dict[str, Any]
) -> None:
    ask = asking(http, "post", task)
    await repeated(ask)
    before = len(agent.asked)
    assert (await ask(**other)).headers["x-shoal-replica"] == "agent-7"
    assert len(agent.asked) == before + 1


@pytest.mark.parametrize(
    "report",
    [
        pb.CacheReport(status=pb.CACHE_STATUS_MISS, key=KEY, ttl_seconds=3600),
        pb.CacheReport(status=pb.CACHE_STATUS_BYPASS),
        pb.CacheReport(status=pb.CACHE_STATUS_HIT, level="l1", key=KEY, ttl_seconds=3600, stale=True),
        pb.CacheReport(status=pb.CACHE_STATUS_HIT, level="near", key=KEY, ttl_seconds=3600),
    ],
)
async def test_what_no_cache_found_fresh_is_asked_for_each_time(
    http: httpx.AsyncClient, agent: ScriptedAgent, task: str, report: pb.CacheReport
) -> None:
    agent.caches[task] = report
    before = len(agent.asked)
    for _ in range(3):
        await asking(http, "post", task)()
    assert len(agent.asked) == before + 3


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_was_computed_anew_takes_the_place_of_the_repeated_one(
    http: httpx.AsyncClient, agent: ScriptedAgent, task: str, stream: bool
) -> None:
    ask = asking(http, "post", task)
    await repeated(ask)
    await ask((("cache-control", "no-cache"),), stream=stream)
    before = len(agent.asked)
    await ask()
    assert len(agent.asked) == before + 1


async def test_what_it_saves_is_counted(near: GatewayProcess, http: httpx.AsyncClient, task: str) -> None:
    before = metrics_of(near)
    await repeated(asking(http, "post", task))
    after = metrics_of(near)
    grown = {name: after[name] - before[name] for name in before}
    assert grown == {
        "shoal_near_cache_hits_total": 1,
        'shoal_near_cache_saved_tokens_total{kind="input"}': USAGE.input_tokens,
        'shoal_near_cache_saved_tokens_total{kind="output"}': USAGE.output_tokens,
        "shoal_near_cache_saved_usd_total": USAGE.cost_usd,
    }


def metrics_of(gateway: GatewayProcess) -> dict[str, float]:
    with urllib.request.urlopen(gateway.metrics_url) as response:  # noqa: S310 - our own http address
        lines = [line.split(" ") for line in response.read().decode().splitlines() if line.startswith("shoal_near")]
    return {name: float(value) for name, value in lines}

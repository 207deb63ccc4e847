"""The gateway behind a real Envoy: what caches on the way are told arrives as it was said though Envoy compresses, and
agents are told whose request it is."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
import pytest_asyncio

from shoal.agent.v1 import agent_pb2 as pb
from shoal.external import rls_pb2, rls_pb2_grpc
from tests.integration.front_door import on_free_ports, running_envoy
from tests.integration.gateway.gateway_process import TIMEOUT_SECONDS, running_gateway
from tests.integration.gateway.scripted_agent import ScriptedAgent, served
from tests.integration.upstreams import OK, Context, answer, grpc_server, limiting
from tests.mesh_identity import SIGNER, signed

pytestmark = pytest.mark.asyncio(loop_scope="module")

TASK = "/api/v1/task"
SHORT, LONG = "Kept.", "Kept and long enough to be compressed. " * 100
FRESH = "private, max-age=3600, stale-while-revalidate=60"


class OneCaller(rls_pb2_grpc.RateLimitServiceServicer):
    """A limiter that knows one caller only."""

    async def ShouldRateLimit(  # noqa: N802 - the protocol's name
        self, request: rls_pb2.RateLimitRequest, context: Context
    ) -> rls_pb2.RateLimitResponse:
        return answer(OK, request=dict(signed()), response={"ratelimit": '"free";r=9;t=1'})


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def asked() -> ScriptedAgent:
    """The agent behind the front door."""
    return ScriptedAgent()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def front(asked: ScriptedAgent, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the front door. Both tasks are in the cache. Clients may say who they are by X-Forwarded-For."""
    folder = tmp_path_factory.mktemp("front")
    topology = on_free_ports(folder)
    for task in (SHORT, LONG):
        asked.caches[task] = pb.CacheReport(
            status=pb.CACHE_STATUS_HIT, level="l1", age_seconds=7, ttl_seconds=3600, stale_seconds=60
        )
    async with AsyncExitStack() as running:
        await running.enter_async_context(grpc_server(topology.ratelimit_rls.envoy_port_of(1), limiting(OneCaller())))
        await running.enter_async_context(served(asked, port=topology.agent.envoy_port_of(1), signer=SIGNER))
        await running.enter_async_context(
            running_gateway(folder, mesh_port=topology.envoy.inner, port=topology.gateway.ports[0])
        )
        await running.enter_async_context(running_envoy(topology))
        url = f"http://127.0.0.1:{topology.envoy.front}"
        yield await running.enter_async_context(httpx.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS))


def varies(response: httpx.Response) -> set[str]:
    return {name.strip().lower() for line in response.headers.get_list("vary") for name in line.split(",")}


async def test_an_answer_arrives_with_all_that_was_said_of_it_compressed_or_not(front: httpx.AsyncClient) -> None:
    etags = set()
    for encoding in ("gzip", "identity"):
        response = await front.get(TASK, params={"task": LONG}, headers={"accept-encoding": encoding})
        assert (response.status_code, response.json()["output"]) == (200, LONG)
        assert response.headers.get("content-encoding", "identity") == encoding
        assert (response.headers["cache-control"], response.headers["age"]) == (FRESH, "7")
        assert varies(response) == {"x-api-key", "authorization", "accept-encoding"}
        etags.add(response.headers["etag"])
    assert len(etags) == 1
    assert etags.pop().startswith('W/"')


async def test_an_answer_too_short_to_be_compressed_arrives_as_it_was_said(front: httpx.AsyncClient) -> None:
    response = await front.get(TASK, params={"task": SHORT}, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in response.headers
    assert response.headers["etag"].startswith('W/"')
    assert varies(response) >= {"x-api-key", "authorization"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_304_arrives_without_a_body_and_with_its_headers(front: httpx.AsyncClient, method: str) -> None:
    whole = await front.get(TASK, params={"task": LONG}, headers={"accept-encoding": "gzip"})
    etag = whole.headers["etag"]
    response = await front.request(method, TASK, params={"task": LONG}, headers={"if-none-match": etag})
    assert (response.status_code, response.content) == (304, b"")
    assert (response.headers["etag"], response.headers["cache-control"]) == (etag, FRESH)
    assert (response.headers["age"], response.headers["x-shoal-cache"]) == ("7", whole.headers["x-shoal-cache"])
    assert varies(response) >= {"x-api-key", "authorization"}
    assert {"x-request-id", "x-shoal-replica", "x-shoal-cache-key", "ratelimit"} <= set(response.headers)


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8::7"])
async def test_the_agent_is_told_the_session_and_the_address_that_envoy_trusts(
    front: httpx.AsyncClient, asked: ScriptedAgent, address: str
) -> None:
    forged = {"x-envoy-external-address": "198.51.100.1", "x-shoal-client-address": "198.51.100.2"}
    headers = {**forged, "x-forwarded-for": f"198.51.100.3, {address}", "x-session-id": "s-1"}
    assert (await front.get(TASK, params={"task": SHORT}, headers=headers)).status_code == 200
    told = asked.metadata[-1]
    assert (told["x-session-id"], told["x-shoal-client-address"]) == ("s-1", address)

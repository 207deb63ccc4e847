"""How the cache may be used, over all surfaces; and what caches on the way are told of an answer."""

from typing import Any

import httpx
import openai as sdk
import pytest
from openai import AsyncOpenAI

from meshkit.errors import Reason, ShoalError
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.gateway.gateway_process import GatewayProcess
from tests.integration.gateway.scripted_agent import ScriptedAgent
from tests.mesh_identity import signed

pytestmark = pytest.mark.asyncio(loop_scope="package")

TASK = "/api/v1/task"
CHAT = "/v1/chat/completions"
KEPT = "Kept."
USER_ASKS = [{"role": "user", "content": KEPT}]
KEPT_HIT = pb.CacheReport(
    status=pb.CACHE_STATUS_HIT, level="l1", age_seconds=12.5, key="ab" * 32, ttl_seconds=3600, stale_seconds=60
)
CONDITIONAL = {"etag", "cache-control", "vary", "age"}

Asked = dict[str, Any]


@pytest.fixture(autouse=True)
def kept(agent: ScriptedAgent) -> None:
    """One answer is in the cache."""
    agent.caches[KEPT] = KEPT_HIT


async def sent(http: httpx.AsyncClient, surface: str, cache: Asked, headers: list[tuple[str, str]]) -> httpx.Response:
    """The kept task, asked for over one of the surfaces."""
    if surface == "get":
        dotted = {f"cache.{name}": ",".join(said) if name == "tags" else said for name, said in cache.items()}
        return await http.get(TASK, params={"task": KEPT, **dotted}, headers=headers)
    body: dict[str, Any] = {"task": KEPT} if surface == "post" else {"model": "m", "messages": USER_ASKS}
    if cache:
        body["cache"] = cache
    return await http.post(TASK if surface == "post" else CHAT, json=body, headers=headers)


def control(value: str) -> list[tuple[str, str]]:
    return [("Cache-Control", value)]


MODES: dict[str, tuple[Asked, list[tuple[str, str]], "pb.CacheMode.ValueType"]] = {
    "nothing": ({}, [], pb.CACHE_MODE_DEFAULT),
    "default": ({"mode": "default"}, [], pb.CACHE_MODE_DEFAULT),
    "bypass": ({"mode": "bypass"}, [], pb.CACHE_MODE_BYPASS),
    "refresh": ({"mode": "refresh"}, [], pb.CACHE_MODE_REFRESH),
    "only": ({"mode": "only"}, [], pb.CACHE_MODE_ONLY),
    "no-store": ({}, control("No-Store"), pb.CACHE_MODE_BYPASS),
    "no-cache": ({}, control("no-cache"), pb.CACHE_MODE_REFRESH),
    "max-age": ({}, control('max-age="0"'), pb.CACHE_MODE_REFRESH),
    "pragma": ({}, [("Pragma", "no-cache")], pb.CACHE_MODE_REFRESH),
    "only-if-cached": ({}, control("only-if-cached"), pb.CACHE_MODE_ONLY),
    "two lines": ({}, [*control("max-age=60"), *control("only-if-cached")], pb.CACHE_MODE_ONLY),
    "a mode over the default": ({"mode": "only"}, control("max-age=60"), pb.CACHE_MODE_ONLY),
    "a header over the default": ({"mode": "default"}, control("no-cache"), pb.CACHE_MODE_REFRESH),
    "bypass over all": ({"mode": "only"}, control("no-cache, no-store"), pb.CACHE_MODE_BYPASS),
}


@pytest.mark.parametrize("surface", ["post", "get", "chat"])
@pytest.mark.parametrize("case", MODES)
async def test_a_mode_is_asked_for_in_the_request_or_by_the_standard_headers(
    http: httpx.AsyncClient, agent: ScriptedAgent, surface: str, case: str
) -> None:
    cache, headers, mode = MODES[case]
    assert (await sent(http, surface, cache, headers)).status_code == 200
    assert agent.asked[-1].cache == pb.CacheControl(mode=mode)


@pytest.mark.parametrize("surface", ["post", "get", "chat"])
async def test_all_that_can_be_said_of_the_cache_arrives(
    http: httpx.AsyncClient, agent: ScriptedAgent, surface: str
) -> None:
    cache = {"mode": "refresh", "ttl_seconds": 60, "tags": ["a", "b"], "public": True}
    await sent(http, surface, cache, [("Shoal-Cache-Tags", "b, c"), ("Shoal-Cache-Tags", "d")])
    assert agent.asked[-1].cache == pb.CacheControl(
        mode=pb.CACHE_MODE_REFRESH, ttl_seconds=60, tags=["a", "b", "c", "d"], public=True
    )


@pytest.mark.parametrize("surface", ["post", "get", "chat"])
async def test_to_compute_and_not_to_compute_at_once_is_refused(http: httpx.AsyncClient, surface: str) -> None:
    response = await sent(http, surface, {"mode": "refresh"}, control("only-if-cached"))
    assert response.status_code == 400
    assert '"cache.mode"' in response.text


async def test_the_mode_holds_for_streams_too(http: httpx.AsyncClient, agent: ScriptedAgent) -> None:
    await http.get(TASK, params={"task": KEPT, "stream": "true", "cache.mode": "only"})
    assert agent.asked[-1].cache.mode == pb.CACHE_MODE_ONLY
    await http.post(TASK, json={"task": KEPT, "stream": True}, headers={"cache-control": "no-cache"})
    assert agent.asked[-1].cache.mode == pb.CACHE_MODE_REFRESH


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_not_cached_is_504_in_the_shape_of_the_api(http: httpx.AsyncClient, stream: bool) -> None:
    headers = {"cache-control": "only-if-cached"}
    native = await http.post(TASK, json={"task": "Never seen.", "stream": stream}, headers=headers)
    assert native.status_code == 504
    assert {name: native.json()[name] for name in ("code", "reason", "field")} == {
        "code": "NOT_FOUND",
        "reason": "NOT_CACHED",
        "field": "cache.mode",
    }
    messages = [{"role": "user", "content": "Never seen."}]
    openai = await http.post(CHAT, json={"model": "m", "messages": messages, "stream": stream}, headers=headers)
    error = openai.json()["error"]
    assert (openai.status_code, error["code"], error["param"]) == (504, "not_cached", "cache.mode")
    assert native.headers["cache-control"] == openai.headers["cache-control"] == "no-store"


async def test_openais_package_does_not_ask_again_for_what_is_not_cached(
    openai: AsyncOpenAI, agent: ScriptedAgent
) -> None:
    before = len(agent.asked)
    with pytest.raises(sdk.InternalServerError) as raised:
        await openai.with_options(max_retries=2).chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "Never seen."}],
            extra_body={"cache": {"mode": "only"}},
        )
    assert raised.value.code == "not_cached"
    assert len(agent.asked) == before + 1


async def test_an_answer_says_where_it_came_from_and_how_long_it_is_fresh(http: httpx.AsyncClient) -> None:
    assert (await http.post(TASK, json={"task": KEPT})).json()["cache"] == {
        "status": "hit",
        "level": "l1",
        "age_seconds": 12.5,
        "key": "ab" * 32,
        "ttl_seconds": 3600.0,
        "stale_seconds": 60.0,
        "stale": False,
    }


async def test_a_get_tells_caches_what_they_may_keep(http: httpx.AsyncClient) -> None:
    response = await http.get(TASK, params={"task": KEPT})
    assert response.headers["etag"].startswith('W/"')
    assert response.headers["cache-control"] == "private, max-age=3600, stale-while-revalidate=60"
    assert (response.headers["age"], response.headers["vary"]) == ("12", "X-API-Key, Authorization")


async def test_a_fresh_answer_that_is_kept_has_no_age(http: httpx.AsyncClient, agent: ScriptedAgent) -> None:
    agent.caches["New."] = pb.CacheReport(status=pb.CACHE_STATUS_MISS, ttl_seconds=60)
    response = await http.get(TASK, params={"task": "New."})
    assert (response.headers["age"], response.headers["cache-control"]) == ("0", "private, max-age=60")


async def test_shared_caches_may_keep_only_what_the_request_calls_public(http: httpx.AsyncClient) -> None:
    public = await http.get(TASK, params={"task": KEPT, "cache.public": "true"})
    assert public.headers["cache-control"] == "public, max-age=3600, stale-while-revalidate=60"
    private = await http.get(TASK, params={"task": KEPT, "cache.public": "false"})
    assert private.headers["cache-control"].startswith("private, ")
    assert public.headers["etag"] == private.headers["etag"]


async def test_an_answer_for_a_user_is_to_be_asked_for_again_each_time(http: httpx.AsyncClient) -> None:
    query = {"task": KEPT, "user_id": "u", "cache.public": "true"}
    response = await http.get(TASK, params=query)
    assert response.headers["cache-control"] == "private, no-cache"
    again = await http.get(TASK, params=query, headers={"if-none-match": response.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("query", [{"task": "Not kept."}, {"task": KEPT, "session_id": "s"}])
async def test_what_is_not_kept_here_and_turns_of_a_session_are_kept_nowhere(
    http: httpx.AsyncClient, query: dict[str, str]
) -> None:
    response = await http.get(TASK, params=query, headers={"if-none-match": "*"})
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert not {"etag", "age", "vary"} & set(response.headers)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("held", ["{etag}", '"x", {etag}', "*", "{strong}"])
async def test_what_the_caller_has_is_not_sent_again(http: httpx.AsyncClient, method: str, held: str) -> None:
    whole = await http.get(TASK, params={"task": KEPT})
    etag = whole.headers["etag"]
    condition = held.format(etag=etag, strong=etag.removeprefix("W/"))
    response = await http.request(method, TASK, params={"task": KEPT}, headers={"if-none-match": condition})
    assert (response.status_code, response.content) == (304, b"")
    kept_too = {*CONDITIONAL, "x-shoal-cache", "x-shoal-replica"}
    assert {name: response.headers[name] for name in kept_too} == {name: whole.headers[name] for name in kept_too}
    assert not {"content-length", "content-type"} & set(response.headers)


async def test_another_answer_than_the_caller_has_is_sent(http: httpx.AsyncClient, agent: ScriptedAgent) -> None:
    agent.caches["Other."] = KEPT_HIT
    etag = (await http.get(TASK, params={"task": "Other."})).headers["etag"]
    response = await http.get(TASK, params={"task": KEPT}, headers={"if-none-match": etag})
    assert (response.status_code, response.json()["output"]) == (200, KEPT)


async def test_head_runs_one_turn_as_get_does_and_has_its_headers(
    http: httpx.AsyncClient, agent: ScriptedAgent
) -> None:
    get = await http.get(TASK, params={"task": KEPT})
    before = len(agent.asked)
    head = await http.head(TASK, params={"task": KEPT})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == get.headers
    assert agent.asked[before:] == [agent.asked[before - 1]]


async def test_a_post_is_kept_nowhere_and_is_not_conditional(http: httpx.AsyncClient) -> None:
    for surface in ("post", "chat"):
        response = await sent(http, surface, {"public": True}, [("If-None-Match", "*")])
        assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
        assert "etag" not in response.headers


async def test_a_stream_is_kept_nowhere(http: httpx.AsyncClient) -> None:
    response = await http.get(TASK, params={"task": KEPT, "stream": "true"}, headers={"if-none-match": "*"})
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")


@pytest.mark.parametrize("path", ["/api/v1/users/u/preferences", "/v1/models", "/health"])
async def test_what_is_true_for_a_moment_is_kept_nowhere(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).headers["cache-control"] == "no-store"


async def test_errors_are_kept_nowhere(http: httpx.AsyncClient, gateway: GatewayProcess, agent: ScriptedAgent) -> None:
    agent.on("Fail.", ShoalError(Reason.MODEL_UNAVAILABLE, "The model is down."))
    failed = await http.get(TASK, params={"task": "Fail."}, headers={"if-none-match": "*"})
    refused = await http.get(TASK)
    nothing = await http.get("/api/v1/nothing")
    wrong = await http.delete(TASK)
    async with gateway.client(signed(lifetime_seconds=-1)) as stranger:
        unknown = await stranger.get(TASK, params={"task": KEPT})
    statuses = [503, 400, 404, 405, 401]
    for status, response in zip(statuses, [failed, refused, nothing, wrong, unknown], strict=True):
        assert (response.status_code, response.headers["cache-control"]) == (status, "no-store")
        assert "etag" not in response.headers

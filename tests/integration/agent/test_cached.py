"""A replica with the real cache service behind it."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from meshkit.errors import Reason
from shoal.agent.v1 import agent_pb2 as pb
from shoal.cache.v1 import cache_pb2
from tests import backends
from tests.integration.agent.agent_process import SECRET, AgentProcess, Caller, agent_process, refusal, signed
from tests.integration.cache import cache_process
from tests.integration.cache.cache_process import CacheProcess
from tests.integration.cache.caller import MODEL_OUTPUT, RESPONSE, eventually
from tests.integration.cache.caller import Caller as CacheCaller
from tests.simulated_model import ModelProcess, Server

SECONDS = 20.0
TASKS = {
    "a short answer": ("hello [[tokens=2]]", "hello hello"),
    "a long answer": ("hello [[tokens=2500]]", " ".join(["hello"] * 2500)),
    "an answer in other scripts": ("h\u00e9 \u4f60\u597d \U0001f600 [[tokens=3]]", "h\u00e9 \u4f60\u597d \U0001f600"),
    "the wish for a tool": ('[[tool=add {"a": 1}]]', ""),
}


@contextmanager
def cached_agent(
    folder: Path, *, redis_url: str, model_url: str, **cache_settings: str
) -> Iterator[tuple[AgentProcess, CacheProcess]]:
    """A replica and a cache of its own, in which nothing is kept yet but what is in Redis."""
    assert cache_process.SECRET == SECRET
    homes = [folder / name for name in ("state", "cache", "agent")]
    for home in homes:
        home.mkdir()
    with ExitStack() as stack:
        state_url = stack.enter_context(backends.valkey(homes[0]))
        cache = stack.enter_context(
            cache_process.cache_process(homes[1], redis_url=redis_url, state_url=state_url, **cache_settings)
        )
        agent = stack.enter_context(
            agent_process(homes[2], redis_url=state_url, model_url=model_url, SHOAL_MESH_ADDRESS=cache.address)
        )
        yield agent, cache


@pytest.fixture(scope="module")
def mesh(
    valkey_url: str, running_model: ModelProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[AgentProcess, CacheProcess]]:
    folder = tmp_path_factory.mktemp("cached")
    with cached_agent(folder, redis_url=valkey_url, model_url=running_model.url) as processes:
        yield processes


@pytest.fixture
async def acme(mesh: tuple[AgentProcess, CacheProcess], tenant: str) -> AsyncIterator[Caller]:
    async with Caller(mesh[0].address, signed(tenant)) as caller:
        yield caller


@pytest.fixture
async def cache(mesh: tuple[AgentProcess, CacheProcess], tenant: str) -> AsyncIterator[CacheCaller]:
    """The cache on behalf of the same tenant."""
    async with CacheCaller(mesh[1], signed(tenant)) as caller:
        yield caller


def asking(task: str, mode: pb.CacheMode.ValueType = pb.CACHE_MODE_DEFAULT, **control: object) -> pb.ExecuteRequest:
    return pb.ExecuteRequest(task=task, cache=pb.CacheControl(mode=mode, **control))  # type: ignore[arg-type]


def said(events: list[pb.ExecuteStreamResponse]) -> list[pb.ExecuteStreamResponse]:
    """All but the beginning, which differs from turn to turn."""
    return [event for event in events if event.WhichOneof("event") not in ("started", "heartbeat")]


def without_call_ids(events: list[pb.ExecuteStreamResponse]) -> list[str]:
    """What was said, but for the id that a model mints for each call."""
    return [re.sub(r'id: "call-[^"]*"', "", str(event)) for event in said(events)]


async def header_of(caller: Caller, request: pb.ExecuteRequest) -> str:
    stream = caller.stream(request)
    async for _ in stream:
        pass
    return {str(key): str(value) for key, value in (await stream.initial_metadata()) or ()}["x-shoal-cache"]


@pytest.mark.parametrize(("task", "output"), TASKS.values(), ids=TASKS)
async def test_what_was_stored_plain_is_replayed_as_the_stream_it_was(
    acme: Caller, model: Server, task: str, output: str
) -> None:
    request = pb.ExecuteRequest(task=task)
    plain = await acme.execute(request)
    replayed = await acme.events(request)
    computed = await acme.events(asking(task, pb.CACHE_MODE_BYPASS))
    assert (plain.output, plain.cache.status) == (output, pb.CACHE_STATUS_MISS)
    assert replayed[0].started.cache.status == pb.CACHE_STATUS_HIT
    assert without_call_ids(replayed) == without_call_ids(computed)
    assert "".join(event.delta.text for event in replayed) == output
    assert [event.tool_call for event in replayed if event.HasField("tool_call")] == list(plain.tool_calls)
    assert [event.usage for event in replayed if event.HasField("usage")] == [plain.usage]
    assert replayed[-1].completed.finish_reason == plain.finish_reason
    await model.calls_reach(begun=2, completed=2)


@pytest.mark.parametrize(("task", "output"), TASKS.values(), ids=TASKS)
async def test_what_was_stored_as_a_stream_is_replayed_plain_and_as_the_same_stream(
    acme: Caller, model: Server, task: str, output: str
) -> None:
    request = pb.ExecuteRequest(task=task)
    streamed, plain, replayed = await acme.events(request), await acme.execute(request), await acme.events(request)
    assert plain.cache.status == pb.CACHE_STATUS_HIT
    assert (plain.output, plain.finish_reason) == (output, streamed[-1].completed.finish_reason)
    assert list(plain.tool_calls) == [event.tool_call for event in streamed if event.HasField("tool_call")]
    assert [plain.usage] == [event.usage for event in streamed if event.HasField("usage")]
    assert said(replayed) == said(streamed)
    await model.calls_reach(begun=1, completed=1)


async def test_another_tenant_never_finds_an_answer(
    mesh: tuple[AgentProcess, CacheProcess], acme: Caller, model: Server, tenant: str
) -> None:
    first = await acme.execute(asking("hello"))
    async with Caller(mesh[0].address, signed(f"{tenant}-2")) as rival:
        second = await rival.execute(asking("hello"))
    assert second.cache.status == pb.CACHE_STATUS_MISS
    assert second.cache.key != first.cache.key
    await model.calls_reach(begun=2)


async def test_a_turn_reports_key_lifetime_and_whether_it_may_be_shared(acme: Caller) -> None:
    request = asking("hello", ttl_seconds=100, tags=["a"], public=True)
    stored, found = (await acme.execute(request)).cache, (await acme.execute(request)).cache
    assert (stored.status, stored.level, stored.stale) == (pb.CACHE_STATUS_MISS, "", False)
    assert 90 <= stored.ttl_seconds <= 100
    assert stored.stale_seconds == 60
    assert stored.public
    assert (found.status, found.level, found.key) == (pb.CACHE_STATUS_HIT, "l1", stored.key)
    assert (found.ttl_seconds, found.stale_seconds, found.public) == (stored.ttl_seconds, stored.stale_seconds, True)
    assert 0 <= found.age_seconds < SECONDS
    assert await header_of(acme, request) == "hit; level=l1"


async def test_a_turn_that_is_not_kept_reports_no_lifetime(acme: Caller) -> None:
    cut_off = pb.ExecuteRequest(task="hello [[tokens=9]]", sampling=pb.SamplingParameters(max_tokens=2))
    for _ in range(2):
        report = (await acme.execute(cut_off)).cache
        assert (report.status, report.ttl_seconds) == (pb.CACHE_STATUS_MISS, 0)


async def test_the_modes(acme: Caller, model: Server) -> None:
    error = await refusal(acme.execute(asking("hello", pb.CACHE_MODE_ONLY)))
    assert (error.reason, error.field) == (Reason.NOT_CACHED, "cache.mode")
    await model.calls_reach(begun=0)
    bypassed = await acme.execute(asking("hello", pb.CACHE_MODE_BYPASS))
    assert bypassed.cache == pb.CacheReport(status=pb.CACHE_STATUS_BYPASS)
    assert (await acme.execute(asking("hello"))).cache.status == pb.CACHE_STATUS_MISS
    assert (await acme.execute(asking("hello", pb.CACHE_MODE_ONLY))).cache.status == pb.CACHE_STATUS_HIT
    assert (await acme.execute(asking("hello", pb.CACHE_MODE_REFRESH))).cache.status == pb.CACHE_STATUS_MISS
    await model.calls_reach(begun=3, completed=3)


@pytest.mark.parametrize(
    "request_",
    [
        pb.ExecuteRequest(task="hello now"),
        pb.ExecuteRequest(task="Wie ist das Wetter heute?"),
        pb.ExecuteRequest(task='[[tool=send {"a": 1}]]', tools=[pb.Tool(name="send", has_side_effects=True)]),
    ],
)
async def test_what_asks_about_now_or_has_side_effects_is_asked_anew(
    acme: Caller, model: Server, request_: pb.ExecuteRequest
) -> None:
    for _ in range(2):
        assert (await acme.execute(request_)).cache.status != pb.CACHE_STATUS_HIT
    await model.calls_reach(begun=2)


@pytest.mark.parametrize("what", ["key", "tag", "everything"])
async def test_what_was_invalidated_is_asked_anew_of_the_model_too(
    acme: Caller, cache: CacheCaller, model: Server, what: str
) -> None:
    request = asking("hello", tags=["greetings"])
    key = (await acme.execute(request)).cache.key
    assert (await acme.execute(request)).cache.status == pb.CACHE_STATUS_HIT
    named: dict[str, object] = {"key": key, "tag": "greetings", "everything": True}
    await cache.invalidate(cache_pb2.InvalidateRequest(**{what: named[what]}))  # type: ignore[arg-type]
    assert (await acme.execute(request)).cache.status == pb.CACHE_STATUS_MISS
    await model.calls_reach(begun=2, completed=2)


def with_named_model(*tags: str) -> pb.ExecuteRequest:
    """Another question than "hello", of which the model is asked the same."""
    request = asking("hello", tags=tags)
    request.model = "small"
    return request


async def test_what_was_said_before_a_tag_was_invalidated_is_not_said_again_with_that_tag(
    acme: Caller, cache: CacheCaller, model: Server
) -> None:
    await acme.execute(asking("hello"))
    await cache.invalidate(cache_pb2.InvalidateRequest(tag="greetings"))
    await acme.execute(with_named_model("greetings"))
    await model.calls_reach(begun=2, completed=2)


async def test_an_answer_that_was_invalidated_by_its_tag_is_asked_anew_without_it_too(
    acme: Caller, cache: CacheCaller, model: Server
) -> None:
    await acme.execute(asking("hello"))
    await acme.execute(with_named_model("greetings"))
    await model.calls_reach(begun=1, completed=1)
    await cache.invalidate(cache_pb2.InvalidateRequest(tag="greetings"))
    await acme.execute(with_named_model())
    await model.calls_reach(begun=2, completed=2)


async def test_what_cannot_be_read_is_replaced(acme: Caller, cache: CacheCaller) -> None:
    key = (await acme.execute(asking("hello"))).cache.key
    await cache.keep(key, b"\xc1 something else")
    assert (await acme.execute(asking("hello"))).cache.status == pb.CACHE_STATUS_MISS
    assert (await acme.execute(asking("hello"))).cache.status == pb.CACHE_STATUS_HIT


async def test_a_stale_answer_is_given_at_once_and_computed_anew_beside_it(
    acme: Caller, cache: CacheCaller, model: Server
) -> None:
    request = asking("hello", ttl_seconds=1, tags=["a"])

    async def is_stale() -> bool:
        return await header_of(acme, request) == "hit; level=l1; stale"

    async def is_fresh() -> bool:
        return await header_of(acme, request) == "hit; level=l1"

    key = (await acme.execute(request)).cache.key
    await eventually(is_stale, "a stale hit", within_seconds=SECONDS)
    await eventually(is_fresh, "the renewal", within_seconds=SECONDS)
    await model.calls_reach(begun=2, completed=2)
    assert [list(entry.tags) for entry in (await cache.get(key)).entries] == [["a"], ["a"]]


async def test_words_that_ask_about_now_and_whether_models_outputs_are_kept_are_settings(
    valkey_url: str,
    model: Server,
    mesh: tuple[AgentProcess, CacheProcess],
    cache: CacheCaller,
    tenant: str,
    tmp_path: Path,
) -> None:
    async def asked() -> dict[int, int]:
        return {row.policy: row.hits + row.misses for row in (await cache.stats()).policies}

    settings = {"SHOAL_TIME_WORDS": "hello", "SHOAL_CACHE_MODEL_OUTPUT": "false"}
    address = {"SHOAL_MESH_ADDRESS": mesh[1].address}
    with agent_process(tmp_path, redis_url=valkey_url, model_url=model.url, **address, **settings) as agent:
        async with Caller(agent.address, signed(tenant)) as acme:
            assert (await acme.execute(asking("hello"))).cache.status == pb.CACHE_STATUS_BYPASS
            before = await asked()
            assert (await acme.execute(asking("how are you now"))).cache.status == pb.CACHE_STATUS_MISS
            after = await asked()
    assert after[RESPONSE] == before[RESPONSE] + 1
    assert after[MODEL_OUTPUT] == before[MODEL_OUTPUT]


async def test_a_replica_that_stops_ends_its_renewals(
    valkey_url: str, running_model: ModelProcess, model: Server, tenant: str, tmp_path: Path
) -> None:
    slow = asking("one two three [[tokens=3]] [[tokens_per_second=3]]", ttl_seconds=1)
    with cached_agent(tmp_path, redis_url=valkey_url, model_url=running_model.url) as (agent, _):
        async with Caller(agent.address, signed(tenant)) as acme:

            async def renews() -> bool:
                await acme.execute(slow)
                return bool((await model.calls())["begun"] == 2)

            await eventually(renews, "the renewal", within_seconds=SECONDS)
    await model.calls_reach(begun=2, completed=1, cancelled=1)


async def test_an_answer_that_has_expired_is_made_of_the_models_output(
    valkey_url: str, running_model: ModelProcess, model: Server, tenant: str, tmp_path: Path
) -> None:
    policies = "response.ttl=1, response.stale=0"
    with cached_agent(tmp_path, redis_url=valkey_url, model_url=running_model.url, SHOAL_CACHE_POLICIES=policies) as (
        agent,
        process,
    ):
        async with Caller(agent.address, signed(tenant)) as acme, CacheCaller(process, signed(tenant)) as cache:
            first = await acme.execute(asking("hello"))

            async def has_expired() -> bool:
                return not await cache.finds(first.cache.key)

            await eventually(has_expired, "the end of the answer", within_seconds=SECONDS)
            second = await acme.execute(asking("hello"))
            stats = {row.policy: row for row in (await cache.stats()).policies}
    assert second.cache.status == pb.CACHE_STATUS_MISS
    assert (second.output, second.usage) == (first.output, first.usage)
    await model.calls_reach(begun=1, completed=1)
    assert stats[MODEL_OUTPUT].hits == 1
    assert stats[MODEL_OUTPUT].saved.output_tokens == first.usage.output_tokens

"""Invalidation: it reaches every level of every process, and what began before it does not come back."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import grpc
import pytest

from meshkit.errors import Reason
from shoal.cache.v1 import cache_pb2 as pb
from tests import backends
from tests.backends import Valkey
from tests.integration.cache.cache_process import CacheProcess, cache_process
from tests.integration.cache.caller import MODEL_OUTPUT, RESPONSE, Caller, eventually
from tests.mesh_identity import signed
from tests.refusal import refusal

PATIENCE_SECONDS = 20.0
"""How soon it is promised to hold is a matter of how often the log is asked, see the unit tests; a busy machine decides
nothing here."""
EVERYWHERE = {"SHOAL_CACHE_POLICIES": "response.levels=l1+l2+l3"}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def two(
    request: pytest.FixtureRequest, valkey_url: str, state_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[CacheProcess, CacheProcess]]:
    """Two processes that share both Valkeys and the database."""
    folder = tmp_path_factory.mktemp("two")
    database = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    settings = {**EVERYWHERE, "SHOAL_DATABASE_URL": database}
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(cache_process(folder, redis_url=valkey_url, state_url=state_url, name=name, **settings))
            for name in ("cache-1", "cache-2")
        )
        yield one, other


@pytest.fixture
async def callers(two: tuple[CacheProcess, CacheProcess]) -> AsyncIterator[tuple[Caller, Caller]]:
    """One tenant at both processes."""
    async with AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(Caller(cache, signed("acme"))) for cache in two]
        yield one, other


def invalidation(what: str, key: str) -> pb.InvalidateRequest:
    return {
        "key": pb.InvalidateRequest(key=key),
        "tag": pb.InvalidateRequest(tag="news"),
        "everything": pb.InvalidateRequest(everything=True),
    }[what]


async def loses(caller: Caller, key: str) -> bool:
    return not await caller.finds(key)


@pytest.mark.parametrize("what", ["key", "tag", "everything"])
async def test_it_holds_at_once_here_and_soon_there_at_every_level(
    callers: tuple[Caller, Caller], key: str, what: str
) -> None:
    one, other = callers
    await one.keep(key, b"old", tags=["news", "sports"])
    assert (await other.open(key)).hit.level == "l2"
    assert [each.level for each in (await other.get(key)).entries] == ["l1", "l2", "l3"]
    await one.invalidate(invalidation(what, key))
    assert await loses(one, key)
    await eventually(lambda: loses(other, key), "the invalidation", within_seconds=PATIENCE_SECONDS)
    assert [each.invalidated for each in (await other.get(key)).entries] == [True, True, True]
    await other.keep(key, b"new", tags=["news"])
    assert list((await one.open(key)).hit.events) == [b"new"]


@pytest.mark.parametrize("what", ["key", "tag", "everything"])
async def test_a_computation_that_led_before_cannot_bring_the_old_answer_back(
    callers: tuple[Caller, Caller], key: str, what: str
) -> None:
    one, other = callers
    leads = [(await caller.open(key)).lead for caller in callers]
    await one.invalidate(invalidation(what, key))
    for lead in leads:
        assert not (await one.keep(key, b"old", lead=lead, tags=["news"])).stored
        await other.keep(key, b"old", lead=lead, tags=["news"])
    assert await loses(one, key)
    await eventually(lambda: loses(other, key), "the invalidation", within_seconds=PATIENCE_SECONDS)
    for caller in callers:
        assert await loses(caller, key)


async def test_a_part_is_not_found_for_an_invalidated_answer_and_is_for_another(
    callers: tuple[Caller, Caller], key: str
) -> None:
    one, other = callers
    part = "cd" * 32
    await one.keep(part, b"part", policy=MODEL_OUTPUT)
    await one.invalidate(pb.InvalidateRequest(key=key))

    async def leads() -> bool:
        return (await other.open(part, MODEL_OUTPUT, part_of=key)).HasField("lead")

    await eventually(leads, "the invalidation", within_seconds=PATIENCE_SECONDS)
    assert (await other.open(part, MODEL_OUTPUT, part_of="ef" * 32)).HasField("hit")
    assert (await other.open(part, MODEL_OUTPUT)).HasField("hit")


@pytest.mark.parametrize("what", ["key", "tag", "everything"])
async def test_what_an_answer_led_here_is_made_of_is_not_found_there_either_from_that_moment_on(
    callers: tuple[Caller, Caller], key: str, what: str
) -> None:
    one, other = callers
    part = "34" * 32
    await other.keep(part, b"part", policy=MODEL_OUTPUT)
    await one.invalidate(invalidation(what, key))
    lead = (await one.open(key)).lead
    opened = await other.open(part, MODEL_OUTPUT, part_of=key, tags=["news"], generation=lead.generation)
    assert opened.HasField("lead")
    assert opened.lead.generation >= lead.generation


async def test_who_leads_in_place_of_an_invalidated_answer_is_told_to_compute_anew_what_it_is_made_of(
    callers: tuple[Caller, Caller], key: str
) -> None:
    one, other = callers
    assert not (await one.open(key)).lead.anew
    await one.keep(key, b"old", tags=["news"])
    await one.invalidate(pb.InvalidateRequest(tag="news"))
    assert (await one.open(key)).lead.anew
    await eventually(lambda: loses(other, key), "the invalidation", within_seconds=PATIENCE_SECONDS)
    assert (await other.open(key)).lead.anew


async def test_other_answers_and_other_tenants_are_left_alone(
    two: tuple[CacheProcess, CacheProcess], callers: tuple[Caller, Caller], key: str
) -> None:
    one, other = callers
    await one.keep(key, b"mine", tags=["news"])
    async with Caller(two[0], signed("rival")) as rival, Caller(two[0], signed("acme/tag")) as namesake:
        for forger in (rival, namesake):
            await forger.keep(key, b"forged", tags=["news"])
            for what in ("key", "tag", "everything"):
                await forger.invalidate(invalidation(what, key))
            assert await loses(forger, key)
    await one.invalidate(pb.InvalidateRequest(tag="sports"))
    # When this is heard, all that came before has been heard too.
    await one.keep(other_key := "12" * 32, b"other")
    await one.invalidate(pb.InvalidateRequest(key=other_key))
    await eventually(lambda: loses(other, other_key), "the invalidation", within_seconds=PATIENCE_SECONDS)
    for caller in callers:
        assert list((await caller.open(key)).hit.events) == [b"mine"]


async def test_found_invalidated_entries_are_counted(callers: tuple[Caller, Caller], key: str) -> None:
    one, _ = callers
    before = await invalidated(one)
    lead = await one.lead(key)
    await one.keep(key, b"old", lead=lead)
    await one.invalidate(pb.InvalidateRequest(key=key))
    await one.open(key)
    await one.keep(key, b"old", lead=lead)
    assert await invalidated(one) - before == 4, "found at three levels, and handed in once"


async def invalidated(caller: Caller) -> int:
    return next(row.invalidated for row in (await caller.stats()).policies if row.policy == RESPONSE)


async def test_without_the_state_redis_answers_are_found_on_and_none_can_be_invalidated(
    valkey_url: str, tmp_path: Path, key: str
) -> None:
    other_key = "cd" * 32
    with (
        backends.running_valkey(tmp_path) as state,
        cache_process(tmp_path, redis_url=valkey_url, state_url=state.url) as cache,
    ):
        async with Caller(cache, signed("acme")) as caller:
            await caller.keep(key, b"answer")
            state.kill()
            assert await caller.finds(key)
            assert (await caller.keep(other_key, b"another")).stored
            error = await refusal(caller.invalidate(pb.InvalidateRequest(key=key)))
            assert error.reason is Reason.STATE_UNAVAILABLE
            await comes_back(state, caller, key)
            assert await loses(caller, key)
            assert await caller.finds(other_key), "the log was lost, and got back what was known"


async def comes_back(state: Valkey, caller: Caller, key: str) -> None:
    """Starts the server, and invalidates the key as soon as that can be done."""

    async def invalidates() -> bool:
        try:
            await caller.invalidate(pb.InvalidateRequest(key=key))
        except grpc.aio.AioRpcError:
            return False
        return True

    state.start()
    await eventually(invalidates, "the invalidation", within_seconds=PATIENCE_SECONDS)


async def test_a_process_that_starts_without_the_state_redis_finds_nothing_until_it_is_there(
    valkey_url: str, tmp_path: Path, key: str
) -> None:
    with backends.running_valkey(tmp_path) as state, ExitStack() as stack:
        first = stack.enter_context(cache_process(tmp_path, redis_url=valkey_url, state_url=state.url))
        async with Caller(first, signed("acme")) as caller:
            await caller.keep(key, b"answer")
        stack.close()
        state.kill()
        second = stack.enter_context(cache_process(tmp_path, redis_url=valkey_url, state_url=state.url))
        async with Caller(second, signed("acme")) as caller:
            assert await loses(caller, key)
            assert not (await caller.keep(key, b"new")).stored
            state.start()

            async def keeps() -> bool:
                return (await caller.keep(key, b"new")).stored

            await eventually(keeps, "hearing of the log", within_seconds=PATIENCE_SECONDS)
            assert await caller.finds(key)

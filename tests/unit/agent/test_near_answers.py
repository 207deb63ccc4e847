"""Answers that were found in the cache a moment ago: which of them are repeated, to whom, and for how long."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from meshkit import call
from meshkit.call import Call
from meshkit.near_cache import NearCache
from services.agent.near_answers import NearAnswers
from services.agent.ports import CachedAnswer, CachedKind, Lead
from tests.unit.agent.world import ACME, PRICED, MemoryCache

RESPONSE, MODEL_OUTPUT = CachedKind.RESPONSE, CachedKind.MODEL_OUTPUT


@dataclass
class Counted:
    """What was saved, one entry for each answer."""

    saved: list[tuple[int, int, float]] = field(default_factory=list)

    def count(self, input_tokens: int, output_tokens: int, cost_usd: float) -> None:
        self.saved.append((input_tokens, output_tokens, cost_usd))


@dataclass
class Near:
    """A near cache of half a second over a cache in memory, and the time."""

    cache: MemoryCache = field(default_factory=MemoryCache)
    hits: Counted = field(default_factory=Counted)
    seconds: float = 0.5
    now: float = 100.0

    def __post_init__(self) -> None:
        self.answers = NearAnswers(
            self.cache, found=NearCache(seconds=self.seconds), hits=self.hits, clock=lambda: self.now
        )

    async def keep(self, key: str = "key", *, ttl_seconds: int = 60, tags: tuple[str, ...] = ()) -> None:
        lead = Lead(key, RESPONSE, generation=1)
        await self.answers.keep(lead, model="small", events=PRICED, ttl_seconds=ttl_seconds, tags=tags)

    async def open(self, key: str = "key", *tags: str, only: bool = False) -> CachedAnswer:
        found = await self.answers.open(key, RESPONSE, tags=tags, only=only)
        assert isinstance(found, CachedAnswer)
        return found

    async def level(self, *tags: str) -> str:
        return (await self.open("key", *tags)).level


@pytest.fixture
def near() -> Iterator[Near]:
    with call.serving(Call("request-1", ACME, "signed", deadline=0)):
        yield Near()


async def test_what_was_found_a_moment_ago_is_repeated_older_by_that_moment(near: Near) -> None:
    await near.keep()
    found = await near.open()
    near.now += 0.25
    assert await near.open() == dataclasses.replace(found, level="near", age_seconds=7.25)
    assert len(near.cache.look_ups) == 1


async def test_what_is_repeated_is_counted_with_what_it_saved(near: Near) -> None:
    await near.keep()
    await near.open()
    assert near.hits.saved == []
    await near.open()
    assert near.hits.saved == [(1_000_000, 2_000_000, 21.0)]


async def test_after_its_time_the_cache_is_asked_again(near: Near) -> None:
    await near.keep()
    await near.open()
    near.now += 0.5
    assert await near.level() == "l1"


async def test_without_seconds_the_cache_is_always_asked(near: Near) -> None:
    near = Near(seconds=0)
    await near.keep()
    assert [await near.level() for _ in range(3)] == ["l1"] * 3


async def test_it_is_repeated_to_who_asks_with_no_other_tags(near: Near) -> None:
    await near.keep()
    await near.open("key", "a", "b")
    assert [await near.level("b"), await near.level(), await near.level("a", "b")] == ["near"] * 3
    assert await near.level("c") == "l1"


async def test_another_tenant_is_given_nothing_of_it(near: Near) -> None:
    await near.keep()
    await near.open()
    rival = dataclasses.replace(call.current(), identity=ACME.__class__("rival", "premium", "", ACME.authentication, 0))
    with call.serving(rival):
        assert await near.level() == "l1"


async def test_what_has_become_stale_meanwhile_is_asked_for(near: Near) -> None:
    await near.keep(ttl_seconds=8)
    near.cache.age_seconds = 7.875
    await near.open()
    near.now += 0.124
    assert await near.level() == "near"
    near.now += 0.001
    assert await near.level() == "l1"


async def test_a_stale_answer_is_not_repeated(near: Near) -> None:
    await near.keep(ttl_seconds=7)
    renewals = [(await near.open()).renewal, (await near.open()).renewal]
    assert [renewal is not None for renewal in renewals] == [True, False]
    assert [(await near.open()).level, near.hits.saved] == ["l1", []]


async def test_a_refresh_looks_nothing_up(near: Near) -> None:
    await near.keep()
    await near.open()
    assert isinstance(await near.answers.open("key", RESPONSE, refresh=True), Lead)


async def test_what_takes_its_place_is_found_at_once(near: Near) -> None:
    await near.keep(ttl_seconds=60)
    await near.open()
    near.now += 0.125
    await near.keep(ttl_seconds=90)
    assert (await near.open()).lifetime.ttl_seconds == 90


async def test_what_could_not_be_kept_may_have_been_kept_all_the_same(near: Near) -> None:
    await near.keep()
    await near.open()
    near.now += 0.125
    near.cache.is_gone = True
    await near.keep()
    near.cache.is_gone = False
    assert await near.level() == "l1"


async def test_who_computes_nothing_is_given_it_too(near: Near) -> None:
    await near.keep()
    await near.open()
    assert (await near.open(only=True)).level == "near"


async def test_a_miss_is_asked_for_again(near: Near) -> None:
    assert [isinstance(await near.answers.open("key", RESPONSE), Lead) for _ in range(2)] == [True, True]
    assert len(near.cache.look_ups) == 2


async def test_parts_of_answers_are_always_asked_for(near: Near) -> None:
    await near.answers.keep(Lead("key", MODEL_OUTPUT, generation=1), model="small", events=PRICED)
    for _ in range(2):
        found = await near.answers.open("key", MODEL_OUTPUT, part_of="whole", tags=["a"], generation=7)
        assert isinstance(found, CachedAnswer)
        assert found.level == "l1"
    assert [(asked.part_of, asked.generation) for asked in near.cache.look_ups] == [("whole", 7)] * 2

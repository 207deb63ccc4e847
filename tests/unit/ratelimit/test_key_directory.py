"""Which keys a limiter remembers, and when a request asks about them."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from meshkit.errors import ShoalError
from services.ratelimit.key_directory import STALE_SECONDS, KeyDirectory
from services.ratelimit.keys import InMemoryKeyStore
from services.ratelimit.metrics import LimiterMetrics
from tests.unit.ratelimit.gated_key_store import GatedKeyStore, key

KEY = key(1)


@pytest.fixture
async def store() -> GatedKeyStore:
    store = GatedKeyStore()
    await store.add(KEY)
    return store


def directory_over(store: InMemoryKeyStore, *, remembered: int = 100) -> KeyDirectory:
    return KeyDirectory(store, count=LimiterMetrics(CollectorRegistry()).count_look_up, remembered=remembered)


async def test_an_answer_counts_until_it_is_stale(store: GatedKeyStore) -> None:
    directory = directory_over(store)
    assert await directory.find(KEY.hash, now=100.0) == KEY
    await store.revoke(KEY.id, now=1)
    assert await directory.find(KEY.hash, now=100.0 + STALE_SECONDS - 0.001) == KEY
    assert await directory.find(KEY.hash, now=100.0 + STALE_SECONDS) is None


async def test_an_unknown_key_is_remembered_too(store: GatedKeyStore) -> None:
    directory = directory_over(store)
    for now in (0.0, 4.9):
        assert await directory.find("0" * 64, now) is None
    assert store.asked["0" * 64] == 1
    await directory.find("0" * 64, 5.0)
    assert store.asked["0" * 64] == 2


async def test_a_forgotten_key_is_asked_for_anew(store: GatedKeyStore) -> None:
    directory = directory_over(store)
    await directory.find(KEY.hash, now=0.0)
    await store.revoke(KEY.id, now=1)
    directory.forget(KEY.hash)
    assert await directory.find(KEY.hash, now=0.0) is None


async def test_an_answer_on_its_way_while_its_key_is_forgotten_is_not_remembered(store: GatedKeyStore) -> None:
    directory = directory_over(store)
    store.gate.clear()
    on_its_way = asyncio.create_task(directory.find(KEY.hash, now=0.0))
    await store.was_asked.wait()
    await store.revoke(KEY.id, now=1)
    directory.forget(KEY.hash)
    store.gate.set()
    await on_its_way
    assert await directory.find(KEY.hash, now=0.0) is None


async def test_callers_at_the_same_time_share_one_question(store: GatedKeyStore) -> None:
    directory = directory_over(store)
    store.gate.clear()
    finds = [asyncio.create_task(directory.find(KEY.hash, now=0.0)) for _ in range(20)]
    await store.was_asked.wait()
    finds[0].cancel()
    store.gate.set()
    assert await asyncio.gather(*finds[1:]) == [KEY] * 19
    assert store.asked[KEY.hash] == 1


async def test_a_failure_reaches_the_caller_and_is_not_remembered(store: GatedKeyStore) -> None:
    directory = directory_over(store)
    store.broken = True
    with pytest.raises(ShoalError, match="gone"):
        await directory.find(KEY.hash, now=0.0)
    store.broken = False
    assert await directory.find(KEY.hash, now=0.0) == KEY


async def test_guessed_keys_do_not_push_out_good_ones_nor_fill_the_memory(store: GatedKeyStore) -> None:
    directory = directory_over(store, remembered=3)
    await directory.find(KEY.hash, now=0.0)
    guesses = [f"{guess:064}" for guess in range(10)]
    for guess in guesses:
        await directory.find(guess, now=0.0)
    for recent in [KEY.hash, *guesses[-3:]]:
        await directory.find(recent, now=0.0)
        assert store.asked[recent] == 1
    await directory.find(guesses[0], now=0.0)
    assert store.asked[guesses[0]] == 2


async def test_the_key_that_was_not_used_for_longest_makes_room(store: GatedKeyStore) -> None:
    directory = directory_over(store, remembered=3)
    for number in (2, 3, 4):
        await store.add(key(number))
    for number in (1, 2, 3, 1, 4):
        await directory.find(key(number).hash, now=0.0)
    assert [directory.is_new(key(number).hash, now=0.0) for number in (1, 2, 3, 4)] == [False, True, False, False]


async def test_a_refresh_does_not_count_as_use(store: GatedKeyStore) -> None:
    directory = directory_over(store, remembered=2)
    for number in (2, 3):
        await store.add(key(number))
    # The order in which a refresh asks about them.
    first, second = sorted((key(1), key(2)), key=lambda each: each.hash)
    for each in (first, second, first):
        await directory.find(each.hash, now=0.0)
    await directory.refresh(now=1.0)
    await directory.find(key(3).hash, now=1.0)
    assert directory.is_new(second.hash, now=1.0)
    assert not directory.is_new(first.hash, now=1.0)


async def test_the_youngest_keys_are_known_from_the_start(store: GatedKeyStore) -> None:
    for number in (2, 3):
        await store.add(key(number))
    directory = directory_over(store, remembered=2)
    await directory.load(now=0.0)
    assert [directory.is_new(key(number).hash, now=0.0) for number in (1, 2, 3)] == [True, False, False]
    assert await directory.find(key(3).hash, now=0.0) == key(3)
    assert not store.asked


async def test_of_the_keys_known_from_the_start_the_oldest_make_room_first(store: GatedKeyStore) -> None:
    for number in (2, 3, 4):
        await store.add(key(number))
    directory = directory_over(store, remembered=3)
    await directory.load(now=0.0)
    await directory.find(KEY.hash, now=0.0)
    assert [directory.is_new(key(number).hash, now=0.0) for number in (1, 2, 3, 4)] == [False, True, False, False]


async def test_a_start_without_the_store_knows_nothing_and_goes_on(store: GatedKeyStore) -> None:
    store.broken = True
    directory = directory_over(store)
    await directory.load(now=0.0)
    store.broken = False
    assert await directory.find(KEY.hash, now=0.0) == KEY


async def test_a_key_is_new_until_somebody_asks_about_it(store: GatedKeyStore) -> None:
    directory = directory_over(store)
    guess = "0" * 64
    for key_hash in (KEY.hash, guess):
        assert directory.is_new(key_hash, now=0.0)
        store.gate.clear()
        on_its_way = asyncio.create_task(directory.find(key_hash, now=0.0))
        store.was_asked.clear()
        await store.was_asked.wait()
        assert not directory.is_new(key_hash, now=0.0)
        store.gate.set()
        await on_its_way
    assert not directory.is_new(KEY.hash, now=100.0)
    assert not directory.is_new(guess, now=4.9)
    assert directory.is_new(guess, now=5.0)


async def test_a_forgotten_key_is_not_new(store: GatedKeyStore) -> None:
    directory = directory_over(store)
    await directory.find(KEY.hash, now=0.0)
    directory.forget(KEY.hash)
    assert not directory.is_new(KEY.hash, now=0.0)

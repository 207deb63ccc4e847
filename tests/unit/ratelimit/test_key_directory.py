"""Which keys a limiter remembers, and when a request asks about them."""

import asyncio

import pytest

from meshkit.errors import ShoalError
from services.ratelimit.key_directory import STALE_SECONDS
from services.ratelimit.keys import ApiKey
from tests.unit.ratelimit.gated_key_store import KEY, GatedKeyStore, directory_over, key


async def test_an_answer_counts_until_it_is_stale(key_store: GatedKeyStore) -> None:
    look_ups: list[str] = []
    directory = directory_over(key_store, look_ups=look_ups)
    assert await directory.find(KEY.hash, now=100.0) == KEY
    await key_store.revoke(KEY.id, now=1)
    assert await directory.find(KEY.hash, now=100.0 + STALE_SECONDS - 0.001) == KEY
    assert await directory.find(KEY.hash, now=100.0 + STALE_SECONDS) is None
    assert look_ups == ["known", "remembered", "unknown"]


async def test_an_unknown_key_is_remembered_too(key_store: GatedKeyStore) -> None:
    look_ups: list[str] = []
    directory = directory_over(key_store, look_ups=look_ups)
    for now in (0.0, 4.9):
        assert await directory.find("0" * 64, now) is None
    assert key_store.asked["0" * 64] == 1
    await directory.find("0" * 64, 5.0)
    assert key_store.asked["0" * 64] == 2
    assert look_ups == ["unknown", "remembered", "unknown"]


async def test_a_forgotten_key_is_asked_for_anew(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store)
    await directory.find(KEY.hash, now=0.0)
    await key_store.revoke(KEY.id, now=1)
    directory.forget(KEY.hash)
    assert await directory.find(KEY.hash, now=0.0) is None


async def test_an_answer_on_its_way_while_its_key_is_forgotten_is_not_remembered(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store)
    key_store.gate.clear()
    on_its_way = asyncio.create_task(directory.find(KEY.hash, now=0.0))
    await key_store.was_asked.wait()
    await key_store.revoke(KEY.id, now=1)
    directory.forget(KEY.hash)
    key_store.gate.set()
    await on_its_way
    assert await directory.find(KEY.hash, now=0.0) is None


async def test_callers_at_the_same_time_share_one_question(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store)
    key_store.gate.clear()
    finds = [asyncio.create_task(directory.find(KEY.hash, now=0.0)) for _ in range(20)]
    await key_store.was_asked.wait()
    finds[0].cancel()
    key_store.gate.set()
    assert await asyncio.gather(*finds[1:]) == [KEY] * 19
    assert key_store.asked[KEY.hash] == 1


async def test_a_failure_reaches_the_caller_and_is_not_remembered(key_store: GatedKeyStore) -> None:
    look_ups: list[str] = []
    directory = directory_over(key_store, look_ups=look_ups)
    key_store.broken = True
    with pytest.raises(ShoalError, match="gone"):
        await directory.find(KEY.hash, now=0.0)
    key_store.broken = False
    assert await directory.find(KEY.hash, now=0.0) == KEY
    assert look_ups == ["failed", "known"]


async def test_guessed_keys_do_not_push_out_good_ones_nor_fill_the_memory(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store, remembered=3)
    await directory.find(KEY.hash, now=0.0)
    guesses = [f"{guess:064}" for guess in range(10)]
    for guess in guesses:
        await directory.find(guess, now=0.0)
    for recent in [KEY.hash, *guesses[-3:]]:
        await directory.find(recent, now=0.0)
        assert key_store.asked[recent] == 1
    await directory.find(guesses[0], now=0.0)
    assert key_store.asked[guesses[0]] == 2


async def test_the_key_that_was_not_used_for_longest_makes_room(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store, remembered=3)
    for number in (2, 3, 4):
        await key_store.add(key(number))
    for number in (1, 2, 3, 1, 4):
        await directory.find(key(number).hash, now=0.0)
    assert [directory.is_new(key(number).hash, now=0.0) for number in (1, 2, 3, 4)] == [False, True, False, False]


async def test_a_refresh_does_not_count_as_use(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store, remembered=2)
    for number in (2, 3):
        await key_store.add(key(number))
    # The order in which a refresh asks about them.
    first, second = sorted((key(1), key(2)), key=lambda each: each.hash)
    for each in (first, second, first):
        await directory.find(each.hash, now=0.0)
    await directory.refresh(now=1.0)
    await directory.find(key(3).hash, now=1.0)
    assert directory.is_new(second.hash, now=1.0)
    assert not directory.is_new(first.hash, now=1.0)


async def test_the_youngest_keys_are_known_from_the_start(key_store: GatedKeyStore) -> None:
    for number in (2, 3):
        await key_store.add(key(number))
    directory = directory_over(key_store, remembered=2)
    await directory.load(now=0.0)
    assert [directory.is_new(key(number).hash, now=0.0) for number in (1, 2, 3)] == [True, False, False]
    assert await directory.find(key(3).hash, now=0.0) == key(3)
    assert not key_store.asked


async def test_of_the_keys_known_from_the_start_the_oldest_make_room_first(key_store: GatedKeyStore) -> None:
    for number in (2, 3, 4):
        await key_store.add(key(number))
    directory = directory_over(key_store, remembered=3)
    await directory.load(now=0.0)
    await directory.find(KEY.hash, now=0.0)
    assert [directory.is_new(key(number).hash, now=0.0) for number in (1, 2, 3, 4)] == [False, True, False, False]


async def test_whatever_good_keys_the_store_tells_are_passed_on(key_store: GatedKeyStore) -> None:
    learned: list[ApiKey] = []
    directory = directory_over(key_store, learned=learned)
    await directory.load(now=0.0)
    assert learned == [KEY]
    await key_store.add(key(2))
    await directory.find(key(2).hash, now=0.0)
    await directory.find(key(3).hash, now=0.0)
    assert learned == [KEY, key(2)]
    updated = await key_store.update(KEY.id, "gold")
    await directory.refresh(now=1.0)
    assert updated in learned


async def test_a_start_without_the_store_knows_nothing_and_goes_on(key_store: GatedKeyStore) -> None:
    key_store.broken = True
    directory = directory_over(key_store)
    await directory.load(now=0.0)
    key_store.broken = False
    assert await directory.find(KEY.hash, now=0.0) == KEY


async def test_a_key_is_new_until_somebody_asks_about_it(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store)
    guess = "0" * 64
    for key_hash in (KEY.hash, guess):
        assert directory.is_new(key_hash, now=0.0)
        key_store.gate.clear()
        on_its_way = asyncio.create_task(directory.find(key_hash, now=0.0))
        key_store.was_asked.clear()
        await key_store.was_asked.wait()
        assert not directory.is_new(key_hash, now=0.0)
        key_store.gate.set()
        await on_its_way
    assert not directory.is_new(KEY.hash, now=100.0)
    assert not directory.is_new(guess, now=4.9)
    assert directory.is_new(guess, now=5.0)


async def test_a_forgotten_key_is_not_new(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store)
    await directory.find(KEY.hash, now=0.0)
    directory.forget(KEY.hash)
    assert not directory.is_new(KEY.hash, now=0.0)

"""How known keys are kept fresh in the background, and go on while the store fails."""

import asyncio
from collections import Counter

import pytest

from meshkit.errors import Reason, ShoalError
from services.ratelimit.key_directory import OUTAGE_SECONDS, STALE_SECONDS
from tests.unit.ratelimit.gated_key_store import KEY, GatedKeyStore, directory_over, key


async def test_a_key_in_use_is_fresh_without_any_request_that_waits(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store)
    for second in range(60):
        assert await directory.find(KEY.hash, now=float(second)) == KEY
        if second % 2:
            await directory.refresh(now=second + 0.5)
    assert key_store.asked[KEY.hash] == 1


async def test_what_changed_elsewhere_holds_after_the_next_refresh(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store)
    await directory.find(KEY.hash, now=0.0)
    updated = await key_store.update(KEY.id, "premium")
    assert await directory.find(KEY.hash, now=1.0) == KEY
    await directory.refresh(now=2.0)
    assert await directory.find(KEY.hash, now=2.0) == updated
    await key_store.revoke(KEY.id, now=3)
    await directory.refresh(now=4.0)
    assert await directory.find(KEY.hash, now=4.0) is None
    assert key_store.asked[KEY.hash] == 1


async def test_a_refresh_asks_in_few_questions(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store, remembered=2000)
    for number in range(2, 1201):
        await key_store.add(key(number))
    await directory.load(now=0.0)
    for number in range(1, 1201):
        await directory.find(key(number).hash, now=1.0)
    await directory.refresh(now=2.0)
    assert [len(question) for question in key_store.questions] == [500, 500, 200]
    assert frozenset().union(*key_store.questions) == {key(number).hash for number in range(1, 1201)}
    assert not key_store.asked


async def test_every_idle_key_has_its_turn_and_those_in_use_have_one_each_time(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store, remembered=2000)
    for number in range(2, 1502):
        await key_store.add(key(number))
    await directory.load(now=0.0)
    for now in (2.0, 4.0, 6.0):
        await directory.find(KEY.hash, now - 1)
        await directory.refresh(now)
    asked = Counter(key_hash for question in key_store.questions for key_hash in question)
    assert asked[KEY.hash] == 3
    assert {asked[key(number).hash] for number in range(2, 1502)} == {1}


async def test_a_key_that_was_forgotten_during_a_refresh_is_asked_for_anew(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store)
    await directory.find(KEY.hash, now=0.0)
    key_store.gate.clear()
    key_store.was_asked.clear()
    refresh = asyncio.create_task(directory.refresh(now=2.0))
    await key_store.was_asked.wait()
    await key_store.revoke(KEY.id, now=2)
    directory.forget(KEY.hash)
    key_store.gate.set()
    await refresh
    assert await directory.find(KEY.hash, now=2.0) is None


async def test_while_the_store_fails_known_keys_go_on_for_the_stated_time(key_store: GatedKeyStore) -> None:
    look_ups: list[str] = []
    directory = directory_over(key_store, look_ups=look_ups)
    await directory.find(KEY.hash, now=0.0)
    key_store.broken = True
    assert await directory.find(KEY.hash, now=STALE_SECONDS) == KEY
    assert await directory.find(KEY.hash, now=OUTAGE_SECONDS - 0.001) == KEY
    assert key_store.asked[KEY.hash] == 2
    with pytest.raises(ShoalError) as refused:
        await directory.find(KEY.hash, now=OUTAGE_SECONDS)
    assert refused.value.reason is Reason.DATABASE_UNAVAILABLE
    assert look_ups == ["known", "failed", "outlasted", "outlasted", "failed"]


async def test_the_stated_time_begins_with_the_last_answer(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store)
    await directory.find(KEY.hash, now=0.0)
    await directory.refresh(now=50.0)
    key_store.broken = True
    await directory.refresh(now=52.0)
    assert await directory.find(KEY.hash, now=109.0) == KEY
    with pytest.raises(ShoalError):
        await directory.find(KEY.hash, now=110.0)


async def test_once_the_store_answers_again_a_revocation_holds(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store)
    await directory.find(KEY.hash, now=0.0)
    key_store.broken = True
    await directory.refresh(now=10.0)
    await key_store.revoke(KEY.id, now=10)
    assert await directory.find(KEY.hash, now=20.0) == KEY
    key_store.broken = False
    await directory.refresh(now=22.0)
    assert await directory.find(KEY.hash, now=22.0) is None


async def test_once_the_store_answers_again_a_stale_key_is_asked_about(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store)
    await directory.find(KEY.hash, now=0.0)
    key_store.broken = True
    await directory.refresh(now=10.0)
    key_store.broken = False
    await directory.refresh(now=12.0)
    await key_store.revoke(KEY.id, now=13)
    assert await directory.find(KEY.hash, now=17.0) is None


async def test_a_stale_key_does_not_wait_for_a_store_that_hangs(key_store: GatedKeyStore) -> None:
    directory = directory_over(key_store)
    await directory.find(KEY.hash, now=0.0)
    key_store.gate.clear()
    assert await directory.find(KEY.hash, now=10.0) == KEY
    with pytest.raises(ShoalError, match="does not answer now"):
        await directory.find(KEY.hash, now=OUTAGE_SECONDS)
    assert key_store.asked[KEY.hash] == 2
    key_store.gate.set()
    assert await directory.find(KEY.hash, now=OUTAGE_SECONDS) == KEY


async def test_a_revoked_key_that_was_forgotten_does_not_come_back_while_the_store_fails(
    key_store: GatedKeyStore,
) -> None:
    directory = directory_over(key_store)
    await directory.find(KEY.hash, now=0.0)
    await key_store.revoke(KEY.id, now=1)
    directory.forget(KEY.hash)
    key_store.broken = True
    await directory.refresh(now=1.0)
    with pytest.raises(ShoalError):
        await directory.find(KEY.hash, now=1.0)

"""Remembered look-ups."""

import asyncio
from collections import Counter

import pytest
from prometheus_client import CollectorRegistry

from meshkit.errors import Reason, ShoalError
from services.ratelimit import keys
from services.ratelimit.key_directory import STALE_SECONDS, KeyDirectory
from services.ratelimit.keys import ApiKey, InMemoryKeyStore
from services.ratelimit.metrics import LimiterMetrics

KEY = keys.describe(keys.new_secret(b"k" * 32), tenant="acme", tier="free", name="", now=0)


class GatedKeyStore(InMemoryKeyStore):
    """Keys in memory that count questions, answer only while the gate is open, and can be out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.was_asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken = False

    async def find(self, key_hash: str) -> ApiKey | None:
        self.asked[key_hash] += 1
        self.was_asked.set()
        found = await super().find(key_hash)
        await self.gate.wait()
        if self.broken:
            raise ShoalError(Reason.DATABASE_UNAVAILABLE, "gone")
        return found


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

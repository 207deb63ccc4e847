"""What every level does, in memory and in Valkey."""

import time

import pytest

from services.cache.entry import Entry
from services.cache.level import Level

KEY = "acme/response/" + "ab" * 32
OTHER_KEY = "rival/response/" + "ab" * 32
TTL = 3600.0


def entry_of(*events: bytes, created: float) -> Entry:
    return Entry(events=events, created=created, ttl_seconds=TTL)


async def test_a_key_without_an_entry_is_a_miss(level: Level) -> None:
    assert await level.get(KEY, time.time()) is None


@pytest.mark.parametrize("events", [(), (b"",), (b"one", b"\x00\xff\r\n", b"three"), (b"x" * 5_000_000,)])
async def test_an_entry_comes_back_as_it_was_stored(level: Level, events: tuple[bytes, ...]) -> None:
    now = time.time()
    entry = entry_of(*events, created=now)
    assert await level.put(KEY, entry, now)
    assert await level.get(KEY, now) == entry
    assert await level.get(OTHER_KEY, now) is None


async def test_the_newer_answer_replaces_the_older(level: Level) -> None:
    now = time.time()
    await level.put(KEY, entry_of(b"older", created=now - 1), now)
    await level.put(KEY, entry_of(b"newer", created=now), now)
    assert await level.get(KEY, now) == entry_of(b"newer", created=now)


async def test_an_entry_is_a_miss_from_its_own_expiry_on(level: Level) -> None:
    now = time.time()
    entry = entry_of(b"answer", created=now - TTL + 60)
    await level.put(KEY, entry, now)
    assert await level.get(KEY, now + 59.9) == entry
    assert await level.get(KEY, entry.expires) is None


async def test_an_entry_that_has_expired_is_not_kept(level: Level) -> None:
    now = time.time()
    assert not await level.put(KEY, entry_of(b"answer", created=now - TTL), now)
    assert await level.get(KEY, now) is None

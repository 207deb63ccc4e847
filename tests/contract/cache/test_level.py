"""What every level does, in memory, in Valkey, in SQLite and in PostgreSQL."""

import asyncio
import random
import time
from dataclasses import replace

import pytest

from services.cache.entry import Entry, Worth
from services.cache.levels.entry_codec import encode
from services.cache.levels.level import CorruptEntryError, Level
from services.cache.policies import DEFAULT_POLICIES, PolicyName
from tests.contract.cache.conftest import Backing

KEY = "acme/response/" + "ab" * 32
OTHER_KEY = "rival/response/" + "ab" * 32
POLICY = DEFAULT_POLICIES[PolicyName.RESPONSE]
TTL = 3600.0
FOUR_MB = random.Random(7).randbytes(4 * 1024 * 1024)  # noqa: S311 - no secret


def entry_of(*events: bytes, created: float) -> Entry:
    return Entry(
        events=events,
        created=created,
        ttl_seconds=TTL,
        stale_seconds=60.0,
        generation=1_700_000_000_123_456,
        tags=("weather", "été"),
        worth=Worth(input_tokens=12, output_tokens=345, cost_usd=0.0678),
    )


async def test_a_key_without_an_entry_is_a_miss(level: Level) -> None:
    assert await level.get(KEY, time.time()) is None


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("events", [(), (b"",), (b"one", b"\x00\xff\r\n", b"three"), (b"x" * 5_000_000,), (FOUR_MB,)])
async def test_an_entry_comes_back_whole(level: Level, events: tuple[bytes, ...], compress: bool) -> None:
    now = time.time()
    entry = entry_of(*events, created=now)
    assert await level.put(KEY, entry, replace(POLICY, compress=compress), now)
    assert await level.get(KEY, now) == entry
    assert await level.get(OTHER_KEY, now) is None


async def test_many_at_once_each_have_their_own(level: Level) -> None:
    now = time.time()
    entries = {f"tenant-{number}/response/{'ab' * 32}": entry_of(b"%d" % number, created=now) for number in range(200)}
    assert all(await asyncio.gather(*(level.put(key, entry, POLICY, now) for key, entry in entries.items())))
    assert await asyncio.gather(*(level.get(key, now) for key in entries)) == list(entries.values())


async def test_the_newer_answer_replaces_the_older(level: Level) -> None:
    now = time.time()
    await level.put(KEY, entry_of(b"older", created=now - 1), POLICY, now)
    assert await level.put(KEY, entry_of(b"newer", created=now), POLICY, now)
    assert await level.get(KEY, now) == entry_of(b"newer", created=now)


@pytest.mark.parametrize("level", ["memory", "sqlite", "postgres"], indirect=True)
async def test_an_older_answer_that_comes_late_replaces_nothing(level: Level) -> None:
    now = time.time()
    await level.put(KEY, entry_of(b"newer", created=now), POLICY, now)
    assert not await level.put(KEY, entry_of(b"older", created=now - 1), POLICY, now)
    assert await level.get(KEY, now) == entry_of(b"newer", created=now)


async def test_an_entry_is_found_while_it_is_stale_and_not_from_its_expiry_on(level: Level) -> None:
    now = time.time()
    entry = entry_of(b"answer", created=now - TTL + 30)
    await level.put(KEY, entry, POLICY, now)
    assert await level.get(KEY, entry.fresh_until + 1) == entry
    assert await level.get(KEY, entry.expires) is None


async def test_an_entry_that_has_expired_is_not_kept(level: Level) -> None:
    now = time.time()
    entry = entry_of(b"answer", created=now - 2 * TTL)
    assert not await level.put(KEY, entry, POLICY, now)
    assert await level.get(KEY, entry.created) is None


def corruptions(entry: Entry) -> list[bytes]:
    data = encode(KEY, entry, compress=True)
    flipped = bytearray(data)
    flipped[-1] ^= 1
    foreign = encode(OTHER_KEY, entry, compress=True)
    return [bytes(flipped), data[:-1], data + b"\x00", foreign, b"\x01" + data[1:], b"", b"not an entry"]


async def test_corrupt_bytes_are_told_apart_from_a_miss_and_the_next_store_mends_them(backing: Backing) -> None:
    level = backing.level
    entry = entry_of(b"answer", created=time.time())
    for corrupt in corruptions(entry):
        await level.put(KEY, entry, POLICY, entry.created)
        await backing.overwrite(KEY, corrupt)
        with pytest.raises(CorruptEntryError):
            await level.get(KEY, entry.created)
        assert await level.get(OTHER_KEY, entry.created) is None
    await level.put(KEY, entry, POLICY, entry.created)
    assert await level.get(KEY, entry.created) == entry

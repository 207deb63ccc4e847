"""What every level does, in memory, in Valkey, in SQLite and in PostgreSQL."""

import asyncio
import random
import time
from dataclasses import replace

import pytest

from services.cache.entry import Entry, Worth
from services.cache.events import Events
from services.cache.levels.entry_codec import encode
from services.cache.levels.level import CorruptEntryError, Level
from services.cache.policies import DEFAULT_POLICIES, PolicyName
from tests.contract.cache.conftest import Backing

KEY = "acme/response/" + "ab" * 32
OTHER_KEY = "rival/response/" + "ab" * 32
POLICY = DEFAULT_POLICIES[PolicyName.RESPONSE]
TTL = 3600.0
GENERATION = 1_700_000_000_123_456
FOUR_MB = random.Random(7).randbytes(4 * 1024 * 1024)  # noqa: S311 - no secret


def entry_of(*events: bytes, created: float) -> Entry:
    return Entry(
        events=Events.of(events),
        created=created,
        ttl_seconds=TTL,
        stale_seconds=60.0,
        generation=GENERATION,
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


OLDER = {"made earlier": (GENERATION, -1.0), "of an earlier generation": (GENERATION - 1, 30.0)}
"""What makes an answer older than one of that generation: its own generation, and seconds after the other."""


def older_than(newer: Entry, how: str) -> Entry:
    generation, seconds = OLDER[how]
    older = entry_of(b"older", created=newer.created + seconds)
    return replace(older, generation=generation)


@pytest.mark.parametrize("how", OLDER)
async def test_what_is_newer_by_generation_or_time_replaces_the_older(level: Level, how: str) -> None:
    newer = entry_of(b"newer", created=time.time())
    for promoted in (False, True):
        await level.put(KEY, older_than(newer, how), POLICY, newer.created)
        assert await level.put(KEY, newer, POLICY, newer.created, promoted=promoted)
        assert await level.get(KEY, newer.created) == newer


@pytest.mark.parametrize("level", ["memory", "sqlite", "postgres"], indirect=True)
async def test_an_answer_of_an_earlier_generation_that_comes_late_replaces_nothing(level: Level) -> None:
    newer = entry_of(b"newer", created=time.time())
    await level.put(KEY, newer, POLICY, newer.created)
    assert not await level.put(KEY, older_than(newer, "of an earlier generation"), POLICY, newer.created)
    assert await level.get(KEY, newer.created) == newer


async def test_an_answer_computed_after_a_clock_was_set_back_replaces_the_one_from_before(level: Level) -> None:
    before = entry_of(b"before", created=time.time())
    computed = entry_of(b"computed", created=before.created - 600)
    await level.put(KEY, before, POLICY, before.created)
    assert await level.put(KEY, computed, POLICY, computed.created)
    assert await level.get(KEY, computed.created) == computed


@pytest.mark.parametrize("how", OLDER)
async def test_a_promotion_that_comes_late_undoes_no_newer_store(level: Level, how: str) -> None:
    newer = entry_of(b"newer", created=time.time())
    await level.put(KEY, newer, POLICY, newer.created)
    assert not await level.put(KEY, older_than(newer, how), POLICY, newer.created, promoted=True)
    assert await level.get(KEY, newer.created) == newer


async def test_what_is_promoted_to_a_level_that_has_none_is_kept_until_it_expires(level: Level) -> None:
    now = time.time()
    entry = entry_of(b"answer", created=now - TTL)
    assert await level.put(KEY, entry, POLICY, now, promoted=True)
    assert await level.get(KEY, now) == entry
    assert await level.get(KEY, entry.expires) is None


async def test_of_many_promotions_and_a_store_at_once_the_store_stays(level: Level) -> None:
    newer = entry_of(b"newer", created=time.time())
    older = [entry_of(b"%d" % number, created=newer.created - 1 - number) for number in range(20)]
    promotions = [level.put(KEY, entry, POLICY, newer.created, promoted=True) for entry in older]
    await asyncio.gather(*promotions[:10], level.put(KEY, newer, POLICY, newer.created), *promotions[10:])
    assert await level.get(KEY, newer.created) == newer


@pytest.mark.parametrize("level", ["memory", "sqlite", "postgres"], indirect=True)
async def test_an_older_answer_replaces_a_newer_one_that_has_expired(level: Level) -> None:
    now = time.time()
    newer = replace(entry_of(b"newer", created=now), ttl_seconds=10, stale_seconds=0)
    older = older_than(newer, "of an earlier generation")
    await level.put(KEY, newer, POLICY, now)
    assert not await level.put(KEY, older, POLICY, newer.expires - 0.5)
    assert await level.put(KEY, older, POLICY, newer.expires)
    assert await level.get(KEY, newer.expires) == older


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


@pytest.mark.parametrize("backing", ["redis"], indirect=True)
async def test_a_promotion_mends_corrupt_bytes(backing: Backing) -> None:
    entry = entry_of(b"answer", created=time.time())
    for corrupt in corruptions(entry):
        await backing.overwrite(KEY, corrupt)
        assert await backing.level.put(KEY, entry, POLICY, entry.created, promoted=True)
        assert await backing.level.get(KEY, entry.created) == entry

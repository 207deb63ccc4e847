"""What is particular to the level in Redis: foreign bytes, expiry by the server, outages, cancelled calls."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
from redis.asyncio import Redis
from structlog.testing import capture_logs

from meshkit.redis import open_redis
from services.cache.entry import Entry, encode
from services.cache.level import LevelUnavailableError
from services.cache.redis_level import RedisLevel
from tests import backends
from tests.contract.cache.conftest import PATIENCE_SECONDS

KEY = "acme/response/" + "ab" * 32
PAUSE = 1.0


def fresh_entry(event: bytes = b"answer") -> Entry:
    return Entry(events=(event,), created=time.time(), ttl_seconds=3600.0)


class ManualClock:
    """A steady clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


async def test_the_server_lets_an_entry_go_when_it_expires(client: Redis, redis_level: RedisLevel) -> None:
    now = time.time()
    await redis_level.put(KEY, Entry(events=(b"answer",), created=now - 3540, ttl_seconds=3600.0), now)
    assert 0 < await client.pttl(KEY) <= 60_000


async def test_corrupt_bytes_are_a_miss_and_the_next_store_mends_them(client: Redis, redis_level: RedisLevel) -> None:
    entry = fresh_entry()
    data = bytearray(encode(KEY, entry))
    data[-1] ^= 1
    for foreign in (bytes(data), b"", b"not an entry", encode(KEY.replace("acme", "rival"), entry)):
        await client.set(KEY, foreign)
        assert await redis_level.get(KEY, entry.created) is None
    await redis_level.put(KEY, entry, entry.created)
    assert await redis_level.get(KEY, entry.created) == entry


async def test_a_cancelled_look_up_never_leaves_its_reply_to_another(redis_level: RedisLevel) -> None:
    entries = {f"tenant-{number}/response/{'ab' * 32}": fresh_entry(b"%d" % number) for number in range(100)}
    now = time.time()
    for key, entry in entries.items():
        await redis_level.put(key, entry, now)
    for turns in range(25):
        abandoned = [asyncio.create_task(redis_level.get(key, now)) for key in entries]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in abandoned:
            task.cancel()
        await asyncio.gather(*abandoned, return_exceptions=True)
        found = await asyncio.gather(*(redis_level.get(key, now) for key in entries))
        assert found == list(entries.values())


async def test_a_redis_that_is_not_there_is_unavailable_for_look_ups_and_stores(tmp_path: Path) -> None:
    with backends.valkey(tmp_path) as url:
        pass
    async with open_redis(url, timeout_seconds=PATIENCE_SECONDS) as client:
        clock = ManualClock()
        level = RedisLevel(redis=client, timeout_seconds=PATIENCE_SECONDS, clock=clock, pause_seconds=PAUSE)
        with pytest.raises(LevelUnavailableError):
            await level.get(KEY, time.time())
        clock.seconds += PAUSE
        with pytest.raises(LevelUnavailableError):
            await level.put(KEY, fresh_entry(), time.time())


class OwnValkey:
    """A server of one test's own that can be made to hang."""

    def __init__(self, url: str) -> None:
        self.url = url
        with redis.Redis.from_url(url) as client:
            self._pid = int(client.info("server")["process_id"])

    def hang(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    with backends.valkey(tmp_path) as url:
        server = OwnValkey(url)
        try:
            yield server
        finally:
            server.go_on()


@pytest.fixture
async def own_redis(own_valkey: OwnValkey) -> AsyncIterator[Redis]:
    """Would itself wait for ever, so that only the level's own timeout helps."""
    async with open_redis(own_valkey.url, timeout_seconds=3600) as client:
        yield client


async def test_a_redis_that_hangs_costs_one_timeout_per_pause_and_is_used_again_when_it_answers(
    own_valkey: OwnValkey, own_redis: Redis
) -> None:
    clock = ManualClock()
    level = RedisLevel(redis=own_redis, timeout_seconds=0.2, clock=clock, pause_seconds=PAUSE)
    entry = fresh_entry()
    with capture_logs() as logs:
        own_valkey.hang()
        with pytest.raises(LevelUnavailableError, match="failed"):
            await level.get(KEY, entry.created)
        for _ in range(100):
            with pytest.raises(LevelUnavailableError, match="left alone"):
                await level.get(KEY, entry.created)
        clock.seconds += PAUSE
        with pytest.raises(LevelUnavailableError, match="failed"):
            await level.get(KEY, entry.created)
        own_valkey.go_on()
        with pytest.raises(LevelUnavailableError, match="left alone"):
            await level.get(KEY, entry.created)
        clock.seconds += PAUSE
        await put_until_it_answers(level, clock, entry)
        assert await level.get(KEY, entry.created) == entry
    assert [line["log_level"] for line in logs] == ["warning", "info"], "one line for each change of state"


async def put_until_it_answers(level: RedisLevel, clock: ManualClock, entry: Entry) -> None:
    """The process needs a moment after SIGCONT; each attempt is bounded by the level's own timeout."""
    for _ in range(50):
        try:
            assert await level.put(KEY, entry, entry.created)
        except LevelUnavailableError:
            clock.seconds += PAUSE
        else:
            return
    pytest.fail("Valkey did not answer again")

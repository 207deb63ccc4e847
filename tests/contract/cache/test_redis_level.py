"""What is particular to the level in Redis: expiry by the server, compression, outages, cancelled calls."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from services.cache.counts import new_counts
from services.cache.entry import Entry
from services.cache.events import Events
from services.cache.hierarchy import Hierarchy
from services.cache.levels.level import CorruptEntryError, Level, LevelUnavailableError
from services.cache.levels.redis_level import RedisLevel
from services.cache.outages.breaker import LATE_IN_A_ROW
from services.cache.policies import DEFAULT_POLICIES, LevelName, Policy, PolicyName
from tests.backends import Valkey
from tests.contract.cache.clock import SteadyClock
from tests.contract.cache.conftest import PATIENCE_SECONDS, redis_level_on

KEY = "acme/response/" + "ab" * 32
KEY_IN_REDIS = f"shoal:cache:{KEY}"
POLICY = DEFAULT_POLICIES[PolicyName.RESPONSE]
PAUSE = 1.0
FOUR_MB = b"x" * 4 * 1024 * 1024


@pytest.fixture
def redis_level(client: Redis) -> RedisLevel:
    return redis_level_on(client)


def fresh_entry(event: bytes = b"answer") -> Entry:
    return Entry(events=Events.of([event]), created=time.time(), ttl_seconds=3600.0)


async def test_the_server_lets_an_entry_go_when_it_expires(client: Redis, redis_level: RedisLevel) -> None:
    now = time.time()
    entry = Entry(events=Events.of([b"answer"]), created=now - 3540, ttl_seconds=3600.0, stale_seconds=60.0)
    await redis_level.put(KEY, entry, POLICY, now)
    assert 60_000 < await client.pttl(KEY_IN_REDIS) <= 120_000


async def test_entries_are_compressed_if_the_policy_says_so(client: Redis, redis_level: RedisLevel) -> None:
    entry = fresh_entry(FOUR_MB)
    await redis_level.put(KEY, entry, POLICY, entry.created)
    assert await client.strlen(KEY_IN_REDIS) < 10_000
    await redis_level.put(KEY, entry, replace(POLICY, compress=False), entry.created)
    assert await client.strlen(KEY_IN_REDIS) > len(FOUR_MB)


async def test_a_cancelled_look_up_never_leaves_its_reply_to_another(redis_level: RedisLevel) -> None:
    entries = {f"tenant-{number}/response/{'ab' * 32}": fresh_entry(b"%d" % number) for number in range(100)}
    now = time.time()
    for key, entry in entries.items():
        await redis_level.put(key, entry, POLICY, now)
    for turns in range(25):
        abandoned = [asyncio.create_task(redis_level.get(key, now)) for key in entries]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in abandoned:
            task.cancel()
        await asyncio.gather(*abandoned, return_exceptions=True)
        found = await asyncio.gather(*(redis_level.get(key, now) for key in entries))
        assert found == list(entries.values())


@pytest.mark.parametrize("promoted", [False, True])
async def test_what_is_of_another_type_is_corrupt_and_no_outage_and_is_mended(
    client: Redis, redis_level: RedisLevel, promoted: bool
) -> None:
    entry = fresh_entry()
    await client.rpush(KEY_IN_REDIS, "not", "an", "entry")
    for _ in range(2):
        with pytest.raises(CorruptEntryError):
            await redis_level.get(KEY, entry.created)
    assert await redis_level.get(f"{KEY}0", entry.created) is None
    assert await redis_level.put(KEY, entry, POLICY, entry.created, promoted=promoted)
    assert await redis_level.get(KEY, entry.created) == entry


@dataclass
class Farther:
    """A level that has an older answer. While it is asked, another process stores a newer one nearer."""

    older: Entry
    newer: Entry
    nearer: RedisLevel

    async def get(self, key: str, now: float) -> Entry:
        await self.nearer.put(key, self.newer, POLICY, now)
        return self.older

    async def put(self, key: str, entry: Entry, policy: Policy, now: float, *, promoted: bool = False) -> bool:
        return True

    def holdings(self) -> None:
        """It is shared."""


async def test_a_look_up_that_is_overtaken_by_a_newer_store_does_not_undo_it(redis_level: RedisLevel) -> None:
    older = fresh_entry(b"older")
    newer = replace(older, created=older.created + 1, events=Events.of([b"newer"]))
    levels: dict[LevelName, Level] = {LevelName.L2: redis_level, LevelName.L3: Farther(older, newer, redis_level)}
    policy = replace(POLICY, levels=tuple(levels))
    hierarchy = Hierarchy(levels, new_counts([policy]))
    assert await hierarchy.get(KEY, policy, newer.created, lambda _: True) == (older, LevelName.L3)
    assert await redis_level.get(KEY, newer.created) == newer


async def test_a_redis_that_hangs_costs_a_few_timeouts_then_one_per_pause_and_is_used_again_when_it_answers(
    own_valkey: Valkey, own_redis: Redis
) -> None:
    clock = SteadyClock()
    level = RedisLevel(redis=own_redis, timeout_seconds=0.2, clock=clock, pause_seconds=PAUSE)
    entry = fresh_entry()
    with capture_logs() as logs:
        own_valkey.pause()
        for _ in range(LATE_IN_A_ROW):
            with pytest.raises(LevelUnavailableError, match="failed"):
                await level.get(KEY, entry.created)
        for _ in range(100):
            with pytest.raises(LevelUnavailableError, match="left alone"):
                await level.get(KEY, entry.created)
        clock.seconds += PAUSE
        with pytest.raises(LevelUnavailableError, match="failed"):
            await level.get(KEY, entry.created)
        own_valkey.resume()
        with pytest.raises(LevelUnavailableError, match="left alone"):
            await level.get(KEY, entry.created)
        clock.seconds += PAUSE
        await put_until_it_answers(level, clock, entry)
        assert await level.get(KEY, entry.created) == entry
    assert [line["log_level"] for line in logs] == ["warning", "info"], "one line for each change of state"


async def test_a_busy_event_loop_makes_look_ups_late_and_is_no_outage(client: Redis) -> None:
    level = RedisLevel(redis=client, timeout_seconds=0.05, clock=time.monotonic)
    look_ups = [asyncio.create_task(level.get(KEY, 0.0)) for _ in range(40)]
    with capture_logs() as logs:
        await asyncio.sleep(0)
        time.sleep(0.1)  # noqa: ASYNC251 - the loop is busy
        outcomes = await asyncio.gather(*look_ups, return_exceptions=True)
    assert sum(isinstance(outcome, LevelUnavailableError) for outcome in outcomes) > LATE_IN_A_ROW
    assert logs == []


async def is_full(redis: Redis, on: bool) -> None:
    await redis.config_set("maxmemory", 1 if on else 0)


async def is_a_replica(redis: Redis, on: bool) -> None:
    await (redis.replicaof("127.0.0.1", "1") if on else redis.replicaof("NO", "ONE"))


@pytest.mark.parametrize("change", [is_full, is_a_replica])
async def test_a_redis_that_refuses_to_write_costs_a_store_per_pause_and_is_read_all_the_same(
    own_redis: Redis, change: Callable[[Redis, bool], Awaitable[None]]
) -> None:
    clock = SteadyClock()
    level = RedisLevel(redis=own_redis, timeout_seconds=PATIENCE_SECONDS, clock=clock, pause_seconds=PAUSE)
    entry = fresh_entry()
    await level.put(KEY, entry, POLICY, entry.created)
    with capture_logs() as logs:
        await change(own_redis, True)
        for _ in range(3):
            for promoted, outcome in ((False, "failed"), (True, "left alone")):
                with pytest.raises(LevelUnavailableError, match=outcome):
                    await level.put(f"{KEY}0", entry, POLICY, entry.created, promoted=promoted)
                assert await level.get(KEY, entry.created) == entry
            clock.seconds += PAUSE
        await change(own_redis, False)
        assert await level.put(f"{KEY}0", entry, POLICY, entry.created)
    assert [line["log_level"] for line in logs] == ["warning", "info"], "one line for each change of state"


async def put_until_it_answers(level: RedisLevel, clock: SteadyClock, entry: Entry) -> None:
    """The process needs a moment after SIGCONT; each attempt is bounded by the level's own timeout."""
    for _ in range(50):
        try:
            assert await level.put(KEY, entry, POLICY, entry.created)
        except LevelUnavailableError:
            clock.seconds += PAUSE
        else:
            return
    pytest.fail("Valkey did not answer again")


async def test_a_redis_that_is_killed_fails_look_ups_and_stores_and_starts_empty(
    own_valkey: Valkey, own_redis: Redis
) -> None:
    clock = SteadyClock()
    level = RedisLevel(redis=own_redis, timeout_seconds=PATIENCE_SECONDS, clock=clock, pause_seconds=PAUSE)
    entry = fresh_entry(FOUR_MB)
    await level.put(KEY, entry, POLICY, entry.created)
    own_valkey.kill()
    with pytest.raises(LevelUnavailableError, match="failed"):
        await level.get(KEY, entry.created)
    clock.seconds += PAUSE
    with pytest.raises(LevelUnavailableError, match="failed"):
        await level.put(KEY, entry, POLICY, entry.created)
    own_valkey.start()
    clock.seconds += PAUSE
    assert await level.get(KEY, entry.created) is None
    assert await level.put(KEY, entry, POLICY, entry.created)
    assert await level.get(KEY, entry.created) == entry


async def test_a_redis_that_is_killed_in_the_middle_of_many_stores_fails_those_that_it_did_not_confirm(
    own_valkey: Valkey, own_redis: Redis
) -> None:
    level = RedisLevel(redis=own_redis, timeout_seconds=PATIENCE_SECONDS, clock=SteadyClock(), pause_seconds=PAUSE)
    entry = fresh_entry(FOUR_MB)
    raw = replace(POLICY, compress=False)
    stores = [asyncio.create_task(level.put(f"{KEY}{number}", entry, raw, entry.created)) for number in range(20)]
    await asyncio.wait(stores, return_when=asyncio.FIRST_COMPLETED)
    own_valkey.kill()
    outcomes = await asyncio.gather(*stores, return_exceptions=True)
    assert True in outcomes
    assert {type(outcome) for outcome in outcomes if outcome is not True} <= {LevelUnavailableError}

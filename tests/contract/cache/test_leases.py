"""Leases, in memory and in Valkey: one caller of all gets them."""

import asyncio
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from meshkit.redis import open_redis
from services.cache.leases import MOST_LEASES, Leases, MemoryLeases
from services.cache.outages.guard import PAUSE_SECONDS
from services.cache.redis_leases import RedisLeases
from tests.backends import running_valkey
from tests.contract.cache.clock import SteadyClock
from tests.contract.cache.conftest import PATIENCE_SECONDS

NAME = "renewal/acme/response/" + "ab" * 32


@pytest.fixture(params=["memory", "redis"])
def leases(request: pytest.FixtureRequest) -> Leases:
    if request.param == "memory":
        return MemoryLeases(time.monotonic)
    return RedisLeases(request.getfixturevalue("state_redis"), timeout_seconds=PATIENCE_SECONDS, clock=time.monotonic)


async def test_one_of_many_callers_gets_a_lease(leases: Leases) -> None:
    assert sum(await asyncio.gather(*(leases.take(NAME, seconds=60) for _ in range(50)))) == 1
    assert not await leases.take(NAME, seconds=60)


async def test_leases_of_other_names_are_other_leases(leases: Leases) -> None:
    assert await leases.take(NAME, seconds=60)
    assert await leases.take(NAME.replace("acme", "rival"), seconds=60)


async def test_a_lease_that_has_ended_is_given_again(leases: Leases) -> None:
    assert await leases.take(NAME, seconds=0.001)
    async with asyncio.timeout(20):
        while not await leases.take(NAME, seconds=60):  # noqa: ASYNC110 - nobody tells when it ends
            await asyncio.sleep(0.001)


async def test_a_lease_in_memory_runs_exactly_as_long_as_it_was_given() -> None:
    clock = SteadyClock()
    leases = MemoryLeases(clock)
    assert await leases.take(NAME, seconds=60)
    clock.seconds += 59.9
    assert not await leases.take(NAME, seconds=60)
    clock.seconds += 0.1
    assert await leases.take(NAME, seconds=60)


async def test_in_memory_the_latest_of_too_many_leases_are_kept() -> None:
    clock = SteadyClock()
    leases = MemoryLeases(clock)
    assert all([await leases.take(f"{NAME}/{number}", seconds=60) for number in range(3 * MOST_LEASES)])
    assert not await leases.take(f"{NAME}/{3 * MOST_LEASES - 1}", seconds=60)
    assert await leases.take(f"{NAME}/0", seconds=60)


async def test_in_memory_leases_that_have_ended_go_before_those_that_run() -> None:
    clock = SteadyClock()
    leases = MemoryLeases(clock)
    for number in range(MOST_LEASES - 100):
        await leases.take(f"{NAME}/{number}", seconds=60 if number < 100 else 1)
    clock.seconds += 2
    assert all([await leases.take(f"{NAME}/new/{number}", seconds=60) for number in range(200)])
    assert not any([await leases.take(f"{NAME}/{number}", seconds=60) for number in range(100)])


async def test_all_processes_share_the_leases_in_redis_which_end_by_themselves(state_redis: Redis) -> None:
    here, there = (RedisLeases(state_redis, timeout_seconds=PATIENCE_SECONDS, clock=time.monotonic) for _ in range(2))
    assert await here.take(NAME, seconds=60)
    assert not await there.take(NAME, seconds=60)
    (key,) = await state_redis.keys()
    assert 0 < await state_redis.pttl(key) <= 60_000


async def test_without_redis_each_process_counts_for_itself_and_asks_it_again_after_a_pause(tmp_path: Path) -> None:
    clock = SteadyClock()
    with running_valkey(tmp_path) as server, capture_logs() as lines:
        async with open_redis(server.url, timeout_seconds=3600, sends_again=True) as client:
            here, there = (RedisLeases(client, timeout_seconds=PATIENCE_SECONDS, clock=clock) for _ in range(2))
            server.kill()
            assert [await here.take(NAME, seconds=60) for _ in range(3)] == [True, False, False]
            assert await there.take(NAME, seconds=60)
            server.start()
            assert not await here.take(NAME, seconds=60), "it is left alone for a while"
            clock.seconds += PAUSE_SECONDS
            assert await here.take(NAME, seconds=60), "a lease may be given twice"
            assert not await there.take(NAME, seconds=60)
    assert [line["log_level"] for line in lines] == ["warning", "warning", "info", "info"]


async def test_a_redis_that_hangs_costs_a_few_timeouts_and_then_none_until_the_pause_is_over(tmp_path: Path) -> None:
    clock = SteadyClock()
    with running_valkey(tmp_path) as server:
        async with open_redis(server.url, timeout_seconds=3600) as client:
            leases = RedisLeases(client, timeout_seconds=0.1, clock=clock)
            server.pause()
            async with asyncio.timeout(5):
                given = [await leases.take(f"{NAME}/{number}", seconds=60) for number in range(500)]
            server.resume()
    assert all(given)


async def test_a_redis_that_takes_nothing_is_done_without(state_redis: Redis) -> None:
    leases = RedisLeases(state_redis, timeout_seconds=PATIENCE_SECONDS, clock=time.monotonic)
    await state_redis.config_set("maxmemory", 1)
    try:
        assert [await leases.take(NAME, seconds=60) for _ in range(2)] == [True, False]
    finally:
        await state_redis.config_set("maxmemory", 0)

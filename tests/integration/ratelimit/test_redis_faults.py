"""Redis for limits fails in every way we know: decisions go on from the own share, and are shared again afterwards."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from load.measuring.ports import free_port
from meshkit.redis import open_redis
from services.ratelimit.buckets.bucket import Limit, Spend
from services.ratelimit.buckets.degrading_bucket_store import DegradingBucketStore
from services.ratelimit.buckets.redis_bucket_store import RedisBucketStore
from services.ratelimit.buckets.redis_fleet import LIFE_SECONDS, RedisFleet
from tests.backends import Valkey, running_valkey
from tests.limiter_notes import Notes
from tests.tcp_proxy import TcpProxy, tcp_proxy

SLOW = Limit(0.001, 12)


@dataclass
class World:
    """A limiter's buckets, its Redis, the proxy between them, and an operator who goes round the proxy."""

    server: Valkey
    proxy: TcpProxy
    operator: Redis
    store: DegradingBucketStore
    notes: Notes

    async def kill(self) -> None:
        await asyncio.to_thread(self.server.kill)

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start)

    async def pause(self) -> None:
        self.server.pause()

    async def resume(self) -> None:
        self.server.resume()

    async def make_read_only(self) -> None:
        await self.operator.config_set("replica-serve-stale-data", "yes")
        await self.operator.replicaof("127.0.0.1", free_port())

    async def make_writable(self) -> None:
        await self.operator.replicaof("NO", "ONE")

    async def fill_memory(self) -> None:
        await self.operator.config_set("maxmemory", 1)

    async def free_memory(self) -> None:
        await self.operator.config_set("maxmemory", 0)

    async def swallow(self) -> None:
        self.proxy.swallow()

    async def pass_on(self) -> None:
        self.proxy.pass_on()

    async def slow_down(self) -> None:
        self.proxy.delay_seconds = 0.2

    async def speed_up(self) -> None:
        self.proxy.delay_seconds = 0

    async def refuse(self) -> None:
        await self.proxy.refuse()

    async def listen(self) -> None:
        await self.proxy.listen()

    async def decide(self, wishes: int, bucket: str = "a") -> tuple[int, set[bool]]:
        """How many of so many wishes passed, and whether they were decided alone."""
        decisions = [await self.store.take([Spend(bucket, SLOW, 1)]) for _ in range(wishes)]
        return sum(decision.allowed for decision in decisions), {decision.degraded for decision in decisions}

    async def recover(self) -> None:
        """Looks, as the limiter does all the time, until Redis is used again."""
        async with asyncio.timeout(20):
            while self.store.is_degraded:
                await self.store.recovery.beat()


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    with running_valkey(folder) as server:
        async with (
            tcp_proxy(server.port) as proxy,
            open_redis(f"redis://127.0.0.1:{proxy.port}/0", timeout_seconds=0.15) as redis,
            open_redis(server.url, timeout_seconds=5) as operator,
        ):
            notes = Notes()
            store = DegradingBucketStore(
                shared=RedisBucketStore(redis),
                fleet=RedisFleet(redis, name="limiter-1"),
                at_least=1,
                observer=notes,
                clock=time.monotonic,
            )
            yield World(server, proxy, operator, store, notes)


FAULTS = {
    "killed": (World.kill, World.start),
    "paused": (World.pause, World.resume),
    "read-only, as after a failover": (World.make_read_only, World.make_writable),
    "out of memory": (World.fill_memory, World.free_memory),
    "a black hole": (World.swallow, World.pass_on),
    "slow": (World.slow_down, World.speed_up),
    "refusing connections": (World.refuse, World.listen),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_decisions_go_on_during_a_fault_and_are_shared_again_after_it(fault: str, tmp_path: Path) -> None:
    begin, end = FAULTS[fault]
    async with world(tmp_path) as now:
        await now.recover()
        await now.store.recovery.beat()
        changes_before = len(now.notes.changes)
        assert await now.decide(5) == (5, {False})
        await begin(now)
        assert await now.decide(20) == (7, {True})
        assert now.notes.changes[changes_before:] == ["degraded"]
        assert now.notes.alone == 20
        await end(now)
        await now.recover()
        assert now.notes.changes[changes_before:] == ["degraded", "recovered"]
        assert await now.decide(20) == (0, {False})
        assert await now.decide(20, "another") == (12, {False})


async def test_buckets_that_come_back_empty_are_not_full_again(tmp_path: Path) -> None:
    async with world(tmp_path) as now:
        await now.store.recovery.beat()
        assert await now.decide(10) == (10, {False})
        await now.kill()
        await now.start()
        assert await now.decide(1) == (1, {True})
        await now.recover()
        assert await now.decide(20) == (1, {False})
        await now.operator.flushall()
        assert await now.decide(20) == (0, {True})
        await now.recover()
        assert await now.decide(20) == (0, {False})


async def test_a_script_that_was_flushed_is_loaded_again_and_is_no_outage(tmp_path: Path) -> None:
    async with world(tmp_path) as now:
        await now.store.recovery.beat()
        await now.decide(1)
        await now.operator.script_flush()
        assert await now.decide(1) == (1, {False})
        assert now.notes.changes == []


async def test_callers_that_leave_at_any_moment_leave_no_answer_for_another(tmp_path: Path) -> None:
    """Each asks for a bucket and a cost of its own, so an answer to somebody else shows."""
    chance = random.Random(7)  # noqa: S311 - a repeatable history is wanted, not a secret
    async with world(tmp_path) as now:
        await now.store.recovery.beat()
        for turn in range(100):
            leaving = [asyncio.create_task(now.store.take([Spend(f"left-{turn}", SLOW, 5)])) for _ in range(3)]
            staying = [
                asyncio.create_task(now.store.take([Spend(f"{turn}-{cost}", SLOW, cost)])) for cost in range(1, 12)
            ]
            for _ in range(chance.randint(0, 12)):
                await asyncio.sleep(0)
            for task in leaving:
                task.cancel()
            left = [decision.holdings[0].remaining for decision in await asyncio.gather(*staying)]
            assert left == [12 - cost for cost in range(1, 12)]
            await asyncio.gather(*leaving, return_exceptions=True)


async def test_an_answer_that_comes_too_late_is_nobodys(tmp_path: Path) -> None:
    async with world(tmp_path) as now:
        await now.store.recovery.beat()
        for turn in range(5):
            now.proxy.delay_seconds = 0.2
            assert (await now.store.take([Spend(f"late-{turn}", SLOW, 7)])).degraded
            now.proxy.delay_seconds = 0
            await now.recover()
            decision = await now.store.take([Spend(f"next-{turn}", SLOW, turn + 1)])
            assert (decision.degraded, decision.holdings[0].remaining) == (False, 11 - turn)


async def test_limiters_count_each_other_and_forget_those_that_left(valkey_url: str) -> None:
    url = urlsplit(valkey_url)._replace(path="/8").geturl()
    async with open_redis(url, timeout_seconds=5) as redis:
        await redis.flushdb()
        first, second = (RedisFleet(redis, name=name) for name in ("first", "second"))
        assert (await first.beat()).limiters == 1
        beat = await second.beat()
        assert beat.limiters == 2
        assert await first.beat() == beat
        await second.leave()
        assert (await first.beat()).limiters == 1
        assert 0 < await redis.pttl("limiters") <= LIFE_SECONDS * 1000
        await redis.flushdb()
        assert (await first.beat()).epoch != beat.epoch

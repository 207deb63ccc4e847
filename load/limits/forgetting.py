"""What a million buckets leave in Redis when they are full again."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from load.measuring.generator import MeasurementError
from load.measuring.home import Home
from load.measuring.progress import say
from load.measuring.report import Table
from load.measuring.servers import Valkey
from load.measuring.waiting import until
from meshkit.redis import open_redis
from services.ratelimit.buckets.bucket import Limit, Spend
from services.ratelimit.buckets.redis_bucket_store import RedisBucketStore

TOGETHER = 250
LIMIT = Limit(1, 60)
"""An empty bucket is full again after 60 s: longer than it takes to empty a million, so that all are there at once."""
_ANSWER_SECONDS = 5.0
_EXPIRY_SECONDS = 150.0


@dataclass(frozen=True, slots=True)
class Size:
    """How large Redis is."""

    keys: int
    megabytes: float


async def of_keys(count: int) -> Table:
    """Empties so many buckets as a limiter does, and waits until Redis has forgotten them.

    A limiter would spend most of the time on gRPC, so its store is used without one. Raises TimeoutError if Redis does
    not forget them.
    """
    async with _empty_redis() as redis:
        store = RedisBucketStore(redis)
        await store.take([Spend("bucket:first", Limit(1, 1), 1)])
        await _until_forgotten(redis)
        sizes = {"before": await _size(redis)}
        began = time.monotonic()
        await _empty(store, count)
        emptied = time.monotonic()
        sizes["all buckets empty"] = await _size(redis)
        say(f"keys: {count} buckets emptied in {emptied - began:.0f} s; waiting until they are full and forgotten")
        await _until_forgotten(redis)
        forgotten = time.monotonic()
        sizes["all buckets full again"] = await _size(redis)
    table = Table(
        f"What {count} distinct keys leave in Redis",
        ("", "keys", "used_memory, MB"),
        note=f"Emptied in {emptied - began:.0f} s by the limiter's own store and script, without the gRPC in front, "
        f"{TOGETHER} buckets a round trip. The last was forgotten {forgotten - emptied - LIMIT.capacity:.1f} s after "
        "it was full again.",
    )
    table.rows += [(name, size.keys, size.megabytes) for name, size in sizes.items()]
    return table


@asynccontextmanager
async def _empty_redis() -> AsyncIterator[Redis]:
    async with (
        Home.made() as home,
        Valkey(home).running() as url,
        open_redis(url, timeout_seconds=_ANSWER_SECONDS) as redis,
    ):
        yield redis


async def _empty(store: RedisBucketStore, count: int) -> None:
    """Raises MeasurementError if a bucket was not full."""
    for start in range(0, count, TOGETHER):
        names = (f"bucket:{number}" for number in range(start, min(start + TOGETHER, count)))
        decisions = await store.take_each([[Spend(name, LIMIT, LIMIT.capacity)] for name in names])
        if not all(decision.allowed for decision in decisions):
            raise MeasurementError("a bucket that was never seen was not full")


async def _until_forgotten(redis: Redis) -> None:
    async def is_so() -> bool:
        return await redis.dbsize() == 0

    await until("Redis to forget all buckets", is_so, seconds=_EXPIRY_SECONDS)


async def _size(redis: Redis) -> Size:
    memory = await redis.info("memory")
    return Size(await redis.dbsize(), memory["used_memory"] / 2**20)

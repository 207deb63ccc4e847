"""Puts the cache service together and runs it."""

import time
from contextlib import AsyncExitStack

from redis.asyncio import Redis

from meshkit.process import start
from meshkit.redis import open_redis
from services.cache.hierarchy import Hierarchy
from services.cache.level import LevelName
from services.cache.level_metrics import LevelCollector
from services.cache.memory_level import MemoryLevel
from services.cache.policies import policy_table
from services.cache.redis_level import RedisLevel
from services.cache.servicer import CacheServicer
from services.cache.settings import CacheSettings
from shoal.cache.v1 import cache_pb2, cache_pb2_grpc


async def run(settings: CacheSettings) -> None:
    """Serves until the process is told to stop."""
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(start("cache", settings))
        redis = await stack.enter_async_context(
            open_redis(settings.cache_redis_url, timeout_seconds=settings.l2_timeout_seconds, sends_again=True)
        )
        hierarchy = _hierarchy(settings, redis)
        process.metrics.registry.register(LevelCollector(hierarchy))
        servicer = CacheServicer(
            hierarchy=hierarchy,
            policies=policy_table(
                response_ttl_seconds=settings.response_ttl_seconds, entry_max_bytes=settings.entry_max_bytes
            ),
            clock=time.time,
        )
        server = process.new_server()
        cache_pb2_grpc.add_CacheServiceServicer_to_server(servicer, server)
        await process.serve(server, [cache_pb2.DESCRIPTOR.services_by_name["CacheService"].full_name])


def _hierarchy(settings: CacheSettings, redis: Redis) -> Hierarchy:
    return Hierarchy(
        {
            LevelName.L1: MemoryLevel(max_entries=settings.l1_max_entries, max_bytes=settings.l1_max_bytes),
            LevelName.L2: RedisLevel(redis=redis, timeout_seconds=settings.l2_timeout_seconds, clock=time.monotonic),
        }
    )

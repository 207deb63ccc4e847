"""Puts the cache service together and runs it."""

import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

from redis.asyncio import Redis

from meshkit import background
from meshkit.database import database_url, open_engine
from meshkit.process import start
from meshkit.redis import open_redis
from services.cache import upkeep
from services.cache.answers import Answers
from services.cache.cache_metrics import CacheCollector
from services.cache.counts import Counts, new_counts
from services.cache.eviction.choice import EvictionName, eviction_named
from services.cache.generations.generation_watcher import GenerationWatcher
from services.cache.generations.generations import Generations
from services.cache.generations.redis_generation_log import RedisGenerationLog
from services.cache.hierarchy import Hierarchy
from services.cache.levels.level import Level
from services.cache.levels.memory_level import MemoryLevel
from services.cache.levels.redis_level import RedisLevel
from services.cache.levels.sql_level import SqlLevel
from services.cache.policies import LevelName, Policy, PolicyName
from services.cache.redis_leases import RedisLeases
from services.cache.servicer import CacheServicer
from services.cache.settings import OWNER, CacheSettings
from services.cache.statistics import Statistics
from services.cache.ttl_tuning import TunedTtl
from shoal.cache.v1 import cache_pb2, cache_pb2_grpc

SERVICE = cache_pb2.DESCRIPTOR.services_by_name["CacheService"].full_name
LOG_TIMEOUT_SECONDS = 0.5
"""Invalidations are to be heard of within a second."""
LEASE_TIMEOUT_SECONDS = 0.1
"""A look-up waits for it."""


async def run(settings: CacheSettings) -> None:
    """Serves until the process is told to stop. It starts without its servers too, and uses them when they are there.

    Raises OSError if a port is busy.
    """
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        mine = await enter(start("cache", settings))
        policies = settings.policies()
        counts = new_counts(policies.values())
        hierarchy = Hierarchy(await enter(_levels(settings, policies)), counts)
        state = await enter(open_redis(settings.state_redis_url, timeout_seconds=LOG_TIMEOUT_SECONDS, sends_again=True))
        generations = Generations()
        watcher = await enter(_watching(generations, state))
        ttls = await enter(_tuned(settings, policies, counts))
        statistics = Statistics(counts=counts, holdings=hierarchy.holdings, ttls=ttls)
        answers = Answers(
            policies=policies,
            hierarchy=hierarchy,
            generations=generations,
            watcher=watcher,
            leases=RedisLeases(state, timeout_seconds=LEASE_TIMEOUT_SECONDS, clock=time.monotonic),
            ttls=ttls,
            counts=counts,
            random=secrets.SystemRandom(),
        )
        mine.metrics.registry.register(
            CacheCollector(statistics, news_age_seconds=lambda: watcher.heard_seconds_ago(time.monotonic()))
        )
        servicer = CacheServicer(
            answers=answers,
            watcher=watcher,
            statistics=statistics,
            replica=settings.replica,
            clock=time.time,
        )
        server = mine.new_server()
        cache_pb2_grpc.add_CacheServiceServicer_to_server(servicer, server)
        await mine.serve(server, [SERVICE], http1_port=settings.envoys_port)


@asynccontextmanager
async def _watching(generations: Generations, state: Redis) -> AsyncIterator[GenerationWatcher]:
    """Keeps the view of invalidations fresh; it has been asked for once already, if it can be."""
    invalidations = RedisGenerationLog(state, timeout_seconds=LOG_TIMEOUT_SECONDS)
    watcher = GenerationWatcher(invalidations, generations, clock=time.monotonic)
    await watcher.hear()
    async with background.running(watcher.run()):
        yield watcher


@asynccontextmanager
async def _tuned(
    settings: CacheSettings, policies: Mapping[PolicyName, Policy], counts: Counts
) -> AsyncIterator[Mapping[PolicyName, TunedTtl]]:
    """The times to live, which follow the traffic."""
    target = settings.ttl_target_hit_rate
    ttls = {name: TunedTtl(policy, target_hit_rate=target) for name, policy in policies.items()}
    tuning = upkeep.tune_regularly(ttls, counts, window_seconds=settings.ttl_tuning_seconds, clock=time.monotonic)
    async with background.running(tuning):
        yield ttls


@asynccontextmanager
async def _levels(
    settings: CacheSettings, policies: Mapping[PolicyName, Policy]
) -> AsyncIterator[Mapping[LevelName, Level]]:
    """The levels that a policy names, nearest first; the others are not opened."""
    named = {level for policy in policies.values() for level in policy.levels}
    levels: dict[LevelName, Level] = {}
    async with AsyncExitStack() as stack:
        if LevelName.L1 in named:
            levels[LevelName.L1] = MemoryLevel(
                max_entries=settings.l1_max_entries,
                max_bytes=settings.l1_max_bytes,
                eviction=eviction_named(EvictionName(settings.l1_eviction)),
            )
        if LevelName.L2 in named:
            levels[LevelName.L2] = await stack.enter_async_context(_redis_level(settings))
        if LevelName.L3 in named:
            levels[LevelName.L3] = await stack.enter_async_context(_sql_level(settings))
        yield levels


@asynccontextmanager
async def _redis_level(settings: CacheSettings) -> AsyncIterator[RedisLevel]:
    timeout_seconds = settings.l2_timeout_seconds
    async with open_redis(settings.cache_redis_url, timeout_seconds=timeout_seconds, sends_again=True) as redis:
        yield RedisLevel(redis=redis, timeout_seconds=timeout_seconds, clock=time.monotonic)


@asynccontextmanager
async def _sql_level(settings: CacheSettings) -> AsyncIterator[SqlLevel]:
    """What has expired there is cleared away beside."""
    timeout_seconds = settings.l3_timeout_seconds
    url = database_url(settings.database_url, home=settings.home, owner=OWNER)
    async with open_engine(url, lock_timeout_seconds=timeout_seconds) as engine:
        level = SqlLevel(engine=engine, timeout_seconds=timeout_seconds, clock=time.monotonic)
        async with aclosing(level), background.running(upkeep.purge_regularly(level, clock=time.time)):
            yield level

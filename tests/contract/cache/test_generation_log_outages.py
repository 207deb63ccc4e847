"""The log of invalidations while its server fails, and processes that keep up with it all the same."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from services.cache.generations.generation_log import GenerationLog, GenerationsUnavailableError
from services.cache.generations.generation_watcher import GenerationWatcher
from services.cache.generations.generations import Generations
from services.cache.generations.redis_generation_log import RedisGenerationLog
from tests.backends import Valkey, wait_until
from tests.contract.cache.logs_at_hand import A, B, everything, known, log_in


async def test_a_server_that_is_gone_or_does_not_answer_is_unavailable_and_can_be_used_again(
    own_valkey: Valkey, own_redis: Redis
) -> None:
    log = log_in(own_redis)
    generation = await log.invalidate(A)
    own_valkey.pause()
    impatient = RedisGenerationLog(own_redis, timeout_seconds=0.1)
    for call in (everything(impatient), impatient.invalidate(A), impatient.restore("1.2.3", known())):
        with pytest.raises(GenerationsUnavailableError):
            await call
    own_valkey.resume()
    assert A in (await everything(log)).scopes
    own_valkey.kill()
    for call in (everything(log), log.invalidate(A), log.restore("1.2.3", known())):
        with pytest.raises(GenerationsUnavailableError):
            await call
    own_valkey.start()
    news = await everything(log)
    assert (news.scopes, news.beginning > generation) == ({}, True)


async def test_a_replica_can_be_read_and_takes_no_invalidation(own_valkey: Valkey, own_redis: Redis) -> None:
    log = log_in(own_redis)
    generation = await log.invalidate(A)
    await own_redis.config_set("replica-serve-stale-data", "yes")
    await own_redis.replicaof("127.0.0.1", str(own_valkey.port + 1))
    with pytest.raises(GenerationsUnavailableError):
        await log.invalidate(B)
    assert (await everything(log)).scopes == {A: generation}
    await own_redis.replicaof("NO", "ONE")
    assert await log.invalidate(B) > generation


async def test_a_server_that_comes_back_with_older_data_is_told_what_it_has_lost(
    own_valkey: Valkey, own_redis: Redis
) -> None:
    log, view = log_in(own_redis), Generations()
    watcher = GenerationWatcher(log, view, clock=time.monotonic)
    first = await log.invalidate(A)
    await own_redis.save()
    second = await log.invalidate(B)
    await watcher.hear()
    own_valkey.kill()
    own_valkey.start()
    assert (await everything(log)).scopes == {A: first}, "the server has its data of before"
    await watcher.hear()
    restored = (await everything(log)).scopes
    assert restored == {A: first, B: view.latest}
    assert view.latest > second


@asynccontextmanager
async def running(log: GenerationLog) -> AsyncIterator[tuple[GenerationWatcher, Generations]]:
    """A process that keeps its view as it does in service."""
    view = Generations()
    watcher = GenerationWatcher(log, view, clock=time.monotonic)
    await watcher.hear()
    task = asyncio.create_task(watcher.run())
    try:
        yield watcher, view
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def happens(view: Generations, generation: int, scope: str) -> None:
    """Waits until the view has heard that the scope is invalid."""
    await asyncio.to_thread(wait_until, lambda: not view.is_valid(generation, (scope,)), f"news of {scope}")


async def test_two_processes_hear_of_each_other_also_after_all_was_lost(own_valkey: Valkey, own_redis: Redis) -> None:
    async with running(log_in(own_redis)) as (here, view_here), running(log_in(own_redis)) as (there, view_there):
        start = view_here.latest
        await here.invalidate(A)
        await happens(view_there, start, A)
        await there.invalidate(B)
        await happens(view_here, start, B)
        await own_redis.flushall()
        third = await here.invalidate("acme/tag/third")
        await happens(view_there, third - 1, "acme/tag/third")
        own_valkey.kill()
        own_valkey.start()
        fourth = await there.invalidate("acme/tag/fourth")
        await happens(view_here, fourth - 1, "acme/tag/fourth")
        assert view_here.is_valid(start, ("acme/tag/other",))
        assert view_there.is_valid(start, ("acme/tag/other",))

    async def newcomer_knows_all() -> bool:
        newcomer = Generations()
        newcomer.learn(await everything(log_in(own_redis)))
        assert newcomer.is_valid(start, ("acme/tag/other",))
        return not any(newcomer.is_valid(start, (scope,)) for scope in (A, B, "acme/tag/third", "acme/tag/fourth"))

    assert await newcomer_knows_all()

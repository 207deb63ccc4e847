"""Logs of invalidations for tests, and what is asked of them."""

from collections.abc import Mapping

from redis.asyncio import Redis

from services.cache.generations.generation_log import GenerationLog
from services.cache.generations.generations import News
from services.cache.generations.redis_generation_log import RedisGenerationLog
from tests.contract.cache.conftest import PATIENCE_SECONDS

A, B = "acme/tag/a", "acme/tag/\u00e9t\u00e9"
MOST = 50


def log_in(redis: Redis, *, most_scopes: int = MOST) -> RedisGenerationLog:
    return RedisGenerationLog(redis, timeout_seconds=PATIENCE_SECONDS, most_scopes=most_scopes)


async def everything(log: GenerationLog) -> News:
    return await log.since(0, epoch="")


def known(**changed: int | Mapping[str, int]) -> News:
    """What a process knows, little but for what is said."""
    facts: dict[str, object] = {"latest": 3, "beginning": 1, "floor": 0, "scopes": {}}
    return News(epoch="", **{**facts, **changed})  # type: ignore[arg-type]

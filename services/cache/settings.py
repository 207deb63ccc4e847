"""What the cache is told."""

from typing import Annotated

from msgspec import Meta

from meshkit.redis import check_url
from meshkit.settings import ServiceSettings, failed_checks


class CacheSettings(ServiceSettings, frozen=True, kw_only=True):
    """The settings of one cache process."""

    cache_redis_url: Annotated[
        str, Meta(description="Redis or Valkey for cached answers; best with maxmemory-policy allkeys-lfu.")
    ] = "redis://127.0.0.1:8153/0"
    l1_max_entries: Annotated[int, Meta(ge=1, description="How many answers a cache process keeps in memory.")] = 1000
    l1_max_bytes: Annotated[
        int, Meta(ge=1, description="How many bytes of answers a cache process keeps in memory.")
    ] = 100_000_000
    l2_timeout_seconds: Annotated[
        float, Meta(gt=0, le=60, description="How long one look-up or store in the cache Redis may take.")
    ] = 0.1
    entry_max_bytes: Annotated[
        int, Meta(ge=1, le=48 * 1024 * 1024, description="The largest answer that is cached, in bytes.")
    ] = 4 * 1024 * 1024
    response_ttl_seconds: Annotated[
        float, Meta(gt=0, le=31_536_000, description="How long a complete answer may be given out again.")
    ] = 3600.0

    def faults(self) -> list[str]:
        return [*super().faults(), *failed_checks({"cache_redis_url": lambda: check_url(self.cache_redis_url)})]

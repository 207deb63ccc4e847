"""What the cache is told."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

from msgspec import Meta

from meshkit.server_urls import check_database_url, check_redis_url
from meshkit.settings import GrpcServiceSettings, failed_checks, variable_of
from services.cache.policies import DEFAULT_POLICIES, Policy, PolicyName
from services.cache.policy_settings import LONGEST_SECONDS, MOST_BYTES, PolicySettingsError, policies_with

OWNER = "cache"
"""The owner of the cache's table, for the name of its SQLite file and for migrations."""


class CacheSettings(GrpcServiceSettings, frozen=True, kw_only=True):
    """The settings of one cache process."""

    home: Annotated[str, Meta(min_length=1, description="The data directory; SQLite files are there.")] = ".shoal"
    cache_redis_url: Annotated[
        str, Meta(description="Redis or Valkey for cached answers; best with maxmemory-policy allkeys-lfu.")
    ] = "redis://127.0.0.1:8153/0"
    state_redis_url: Annotated[
        str,
        Meta(
            description="Redis or Valkey that cache processes tell each other through what was invalidated; it must "
            "not evict: maxmemory-policy noeviction."
        ),
    ] = "redis://127.0.0.1:8152/0"
    database_url: Annotated[
        str, Meta(description="PostgreSQL or SQLite for the level l3. Empty: a SQLite file in the home.")
    ] = ""
    cache_policies: Annotated[
        str,
        Meta(
            description="What differs from the policies' defaults, as policy.field=value separated by commas, such as "
            "response.ttl=1800, response.levels=l1+l2+l3; see docs/cache.md."
        ),
    ] = ""
    l1_max_entries: Annotated[int, Meta(ge=1, description="How many answers a cache process keeps in memory.")] = 1000
    l1_max_bytes: Annotated[
        int, Meta(ge=1, description="How many bytes of answers a cache process keeps in memory.")
    ] = 100_000_000
    l1_eviction: Annotated[
        Literal["recency_frequency", "s3_fifo"],
        Meta(description="Which answers make room when the memory level is full; see docs/cache.md."),
    ] = "recency_frequency"
    l2_timeout_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=60,
            description="How long one look-up or store in the cache Redis may take. Look-ups, a promotion and news of "
            "invalidations together have to stay below the second that an agent waits.",
        ),
    ] = 0.1
    l3_timeout_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=60,
            description="How long one look-up or store in the database may take; a part of the same second as "
            "SHOAL_L2_TIMEOUT_SECONDS.",
        ),
    ] = 0.25
    entry_max_bytes: Annotated[
        int,
        Meta(ge=1, le=MOST_BYTES, description="The largest answer that is cached, in bytes, if its policy has no own."),
    ] = 4 * 1024 * 1024
    response_ttl_seconds: Annotated[
        float,
        Meta(
            ge=1, le=LONGEST_SECONDS, description="How long a complete answer is given out, if its policy does not say."
        ),
    ] = 3600.0
    ttl_target_hit_rate: Annotated[
        float,
        Meta(
            ge=0.01,
            le=0.9,
            description="The share of look-ups that hit towards which times to live are tuned, for policies with "
            "ttl_min and ttl_max.",
        ),
    ] = 0.7
    ttl_tuning_seconds: Annotated[
        float, Meta(ge=1, le=86_400, description="How often times to live are compared with the target.")
    ] = 300.0

    def policies(self) -> Mapping[PolicyName, Policy]:
        """Raises PolicySettingsError with all faults."""
        defaults = {name: replace(policy, max_bytes=self.entry_max_bytes) for name, policy in DEFAULT_POLICIES.items()}
        response = defaults[PolicyName.RESPONSE]
        defaults[PolicyName.RESPONSE] = replace(response, ttl_seconds=self.response_ttl_seconds)
        return policies_with(self.cache_policies, defaults=defaults)

    def faults(self) -> list[str]:
        return [
            *super().faults(),
            *failed_checks(
                {
                    "cache_redis_url": lambda: check_redis_url(self.cache_redis_url),
                    "state_redis_url": lambda: check_redis_url(self.state_redis_url),
                    "database_url": lambda: check_database_url(self.database_url),
                }
            ),
            *self._policy_faults(),
        ]

    def _policy_faults(self) -> list[str]:
        try:
            self.policies()
        except PolicySettingsError as error:
            return [f"{variable_of('cache_policies')}: {fault}" for fault in error.faults]
        return []

"""The policies of eviction that are compared: those that the cache offers, and two more."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from load.cache.eviction.lru import Lru
from load.cache.eviction.w_tiny_lfu import WTinyLfu
from services.cache.eviction.choice import EvictionName, eviction_named
from services.cache.eviction.eviction import Eviction

Policy = Callable[[int], Eviction]
"""Makes an eviction for a cache of so many entries."""

POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "recency x frequency": lambda _: eviction_named(EvictionName.RECENCY_FREQUENCY),
        "LRU": lambda _: Lru(),
        "W-TinyLFU": lambda capacity: WTinyLfu(max_entries=capacity),
        "S3-FIFO": lambda _: eviction_named(EvictionName.S3_FIFO),
    }
)
"""By the names that the tables show."""

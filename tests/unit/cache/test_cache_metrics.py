"""What Prometheus sees of the cache."""

import math

from prometheus_client import CollectorRegistry

from services.cache.cache_metrics import CacheCollector
from services.cache.entry import Worth
from services.cache.policies import PolicyName
from services.cache.statistics import Statistics
from services.cache.ttl_tuning import Direction
from tests.unit.cache.levels_at_hand import BrokenLevel
from tests.unit.cache.processes import CacheProcess, Shared, new_process


def registered(process: CacheProcess, *, news_age_seconds: float) -> CollectorRegistry:
    registry = CollectorRegistry()
    statistics = Statistics(counts=process.counts, holdings=process.hierarchy.holdings, ttls=process.ttls)
    registry.register(CacheCollector(statistics, news_age_seconds=lambda: news_age_seconds))
    return registry


def samples(registry: CollectorRegistry) -> dict[str, float]:
    """Values by name and labels, as in `name{level=l1,policy=response}`; only those that are not 0."""
    shown = {}
    for sample in (sample for family in registry.collect() for sample in family.samples if sample.value):
        labels = ",".join(f"{label}={value}" for label, value in sorted(sample.labels.items()))
        shown[f"{sample.name}{{{labels}}}"] = sample.value
    return shown


async def test_uses_savings_and_refusals_are_shown() -> None:
    shared = Shared()
    process = await new_process(shared)
    process.ttls[PolicyName.RESPONSE].changes[Direction.UP] = 3
    await process.keep(await process.lead(), bytes(1001))
    await process.keep(await process.lead(), b"answer", worth=Worth(100, 20, 0.5))
    await process.hit()
    shared.now += 3600
    await process.hit()
    await process.watcher.invalidate("acme/tenant/")
    await process.lead()
    near, far = process.hierarchy.holdings().values()
    assert near
    assert near == far
    size_bytes = near.size_bytes
    shown = samples(registered(process, news_age_seconds=0.25))
    times_to_live = {name: value for name, value in shown.items() if name.startswith("shoal_cache_ttl_seconds")}
    assert len(times_to_live) == 4
    assert {name: value for name, value in shown.items() if name not in times_to_live} == {
        "shoal_cache_hits_total{level=l1,policy=response}": 2,
        "shoal_cache_misses_total{level=l1,policy=response}": 3,
        "shoal_cache_misses_total{level=l2,policy=response}": 4,
        "shoal_cache_stores_total{level=l1,policy=response}": 1,
        "shoal_cache_stores_total{level=l2,policy=response}": 1,
        "shoal_cache_entries{level=l1}": 1,
        "shoal_cache_size_bytes{level=l1}": size_bytes,
        "shoal_cache_entries{level=l2}": 1,
        "shoal_cache_size_bytes{level=l2}": size_bytes,
        "shoal_cache_lookups_total{outcome=hit,policy=response}": 1,
        "shoal_cache_lookups_total{outcome=stale,policy=response}": 1,
        "shoal_cache_lookups_total{outcome=miss,policy=response}": 3,
        "shoal_cache_too_large_total{policy=response}": 1,
        "shoal_cache_invalidated_total{policy=response}": 2,
        "shoal_cache_saved_tokens_total{kind=input,policy=response}": 100,
        "shoal_cache_saved_tokens_total{kind=output,policy=response}": 20,
        "shoal_cache_saved_usd_total{policy=response}": 0.5,
        "shoal_cache_ttl_changes_total{direction=up,policy=response}": 3,
        "shoal_cache_news_age_seconds{}": 0.25,
    }


async def test_what_a_shared_level_holds_is_not_shown() -> None:
    registry = registered(await new_process(Shared(far=BrokenLevel())), news_age_seconds=0)
    for name in ("shoal_cache_entries", "shoal_cache_size_bytes", "shoal_cache_evictions_total"):
        shown = {level: registry.get_sample_value(name, {"level": level}) for level in ("l1", "l2")}
        assert shown == {"l1": 0, "l2": None}


async def test_every_series_is_there_from_the_start() -> None:
    registry = registered(await new_process(), news_age_seconds=math.inf)
    names = {sample.name for family in registry.collect() for sample in family.samples}
    assert {"shoal_cache_corrupt_total", "shoal_cache_evictions_total", "shoal_cache_failures_total"} <= names
    assert registry.get_sample_value("shoal_cache_news_age_seconds") == math.inf, "nothing was heard yet"

"""The numbers of the cache for Prometheus, read whenever it asks."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.cache.statistics import Statistics

_USES: Mapping[str, str] = MappingProxyType(
    {
        "hits": "Look-ups that the level answered.",
        "misses": "Look-ups in which the level was asked and did not answer: it had no entry, an invalidated one, or a "
        "stale one and another level a better one.",
        "failures": "Look-ups and stores that failed and were passed over.",
        "stores": "Entries stored.",
        "corrupt": "Entries found corrupt or unreadable; they count as misses too.",
    }
)
_REFUSALS: Mapping[str, str] = MappingProxyType(
    {
        "too_large": "Answers handed in that were not kept: larger than the policy allows.",
        "invalidated": "Entries found, and answers handed in, that had been invalidated.",
    }
)


class CacheCollector(Collector):
    """Shows everything as metrics shoal_cache_<name>, with the labels `level` and `policy` where there are several.

    `news_age_seconds` tells how long ago this process heard of invalidations last.
    """

    def __init__(self, statistics: Statistics, *, news_age_seconds: Callable[[], float]) -> None:
        self._statistics = statistics
        self._news_age_seconds = news_age_seconds

    def collect(self) -> Iterator[Metric]:
        yield from self._uses()
        yield from self._holdings()
        yield from self._look_ups()
        yield from self._savings()
        yield from self._times_to_live()
        yield GaugeMetricFamily(
            "shoal_cache_news_age_seconds",
            "Seconds since this process heard of invalidations last.",
            value=self._news_age_seconds(),
        )

    def _uses(self) -> Iterator[Metric]:
        for field, meaning in _USES.items():
            metric = _counter(field, meaning, "level", "policy")
            for policy, counts in self._statistics.counts.items():
                for level, of_level in counts.levels.items():
                    metric.add_metric((level, policy), getattr(of_level, field))
            yield metric

    def _holdings(self) -> Iterator[Metric]:
        evictions = _counter("evictions", "Entries removed to make room, except by shared levels.", "level")
        entries = _gauge("entries", "Entries held, except at shared levels.", "level")
        size_bytes = _gauge("size_bytes", "Bytes held, except at shared levels.", "level")
        own = {level: held for level, held in self._statistics.holdings().items() if held is not None}
        for level, held in own.items():
            evictions.add_metric((level,), held.evictions)
            entries.add_metric((level,), held.entries)
            size_bytes.add_metric((level,), held.size_bytes)
        yield from (evictions, entries, size_bytes)

    def _look_ups(self) -> Iterator[Metric]:
        look_ups = _counter("lookups", "Look-ups by what they came to: hit, stale or miss.", "policy", "outcome")
        for policy, counts in self._statistics.counts.items():
            look_ups.add_metric((policy, "hit"), counts.hits - counts.stale_hits)
            look_ups.add_metric((policy, "stale"), counts.stale_hits)
            look_ups.add_metric((policy, "miss"), counts.misses)
        yield look_ups
        for field, meaning in _REFUSALS.items():
            metric = _counter(field, meaning, "policy")
            for policy, counts in self._statistics.counts.items():
                metric.add_metric((policy,), getattr(counts, field))
            yield metric

    def _savings(self) -> Iterator[Metric]:
        tokens = _counter("saved_tokens", "Tokens of a model that hits have saved.", "policy", "kind")
        dollars = _counter("saved_usd", "US dollars that hits have saved.", "policy")
        for policy, counts in self._statistics.counts.items():
            tokens.add_metric((policy, "input"), counts.saved.input_tokens)
            tokens.add_metric((policy, "output"), counts.saved.output_tokens)
            dollars.add_metric((policy,), counts.saved.cost_usd)
        yield from (tokens, dollars)

    def _times_to_live(self) -> Iterator[Metric]:
        seconds = _gauge("ttl_seconds", "How long an answer is fresh at present.", "policy")
        changes = _counter("ttl_changes", "How often the time to live was tuned, up or down.", "policy", "direction")
        for policy, ttl in self._statistics.ttls.items():
            seconds.add_metric((policy,), ttl.seconds)
            for direction, count in ttl.changes.items():
                changes.add_metric((policy, direction), count)
        yield from (seconds, changes)


def _counter(name: str, meaning: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"shoal_cache_{name}", meaning, labels=labels)


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"shoal_cache_{name}", meaning, labels=labels)

"""The numbers of the levels for Prometheus, read whenever it asks."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.cache.hierarchy import Hierarchy

_COUNTERS: Mapping[str, str] = MappingProxyType(
    {
        "hits": "Look-ups that found a live entry.",
        "misses": "Look-ups that found none.",
        "failures": "Look-ups and stores that failed and were passed over.",
        "stores": "Entries stored.",
        "evictions": "Entries removed to make room; 0 for shared levels.",
    }
)
_GAUGES: Mapping[str, str] = MappingProxyType(
    {
        "entries": "Entries held; 0 for shared levels.",
        "size_bytes": "Bytes held; 0 for shared levels.",
    }
)


class LevelCollector(Collector):
    """Shows the fields of LevelStats as metrics shoal_cache_<field> with the label `level`."""

    def __init__(self, hierarchy: Hierarchy) -> None:
        self._hierarchy = hierarchy

    def collect(self) -> Iterator[Metric]:
        rows = self._hierarchy.stats()
        for family, table in ((CounterMetricFamily, _COUNTERS), (GaugeMetricFamily, _GAUGES)):
            for field, meaning in table.items():
                metric = family(f"shoal_cache_{field}", meaning, labels=("level",))
                for row in rows:
                    metric.add_metric((row.level,), getattr(row, field))
                yield metric

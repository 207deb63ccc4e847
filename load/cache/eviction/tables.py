"""The tables: how often each policy of eviction hits, and what it costs."""

import statistics
from collections.abc import Sequence

from load.cache.eviction.costs import Costs, costs
from load.cache.eviction.policies import POLICIES, Policy
from load.cache.eviction.simulation import hit_rate
from load.cache.eviction.traces import KEYS, TRACES, Source, requests
from load.measuring.report import Table, spread

CAPACITIES = (KEYS // 100, KEYS // 10)
WARM_UP_SHARE = 5
"""One of so many requests is made before hits are counted."""
SIZES = (1_000, 10_000, 100_000)
"""Of the caches that costs are measured with."""


def hit_rates(*, seeds: Sequence[int], count: int) -> Table:
    """Of every policy on every trace. Each trace has `count` requests."""
    table = Table(
        "Hit rates of policies of eviction, in percent",
        ("trace", "entries", *POLICIES),
        note=f"{KEYS:,} keys; {count:,} requests, hits counted after the first {count // WARM_UP_SHARE:,}; nothing "
        f"expires. Median and range of {len(seeds)} traces.",
    )
    for trace, source in TRACES.items():
        for capacity in CAPACITIES:
            rates = _rates(source, capacity=capacity, seeds=seeds, count=count)
            table.rows.append((trace, capacity, *map(_percent, rates)))
    return table


def _rates(source: Source, *, capacity: int, seeds: Sequence[int], count: int) -> list[list[float]]:
    """For each policy, the rate for each seed."""
    traces = [requests(source, seed=seed, capacity=capacity, count=count) for seed in seeds]
    return [
        [hit_rate(policy(capacity), trace, capacity=capacity, warm_up=count // WARM_UP_SHARE) for trace in traces]
        for policy in POLICIES.values()
    ]


def _percent(rates: Sequence[float]) -> str:
    median, lowest, highest = (f"{100 * rate:.1f}" for rate in spread(rates))
    return f"{median} ({lowest} - {highest})"


def costs_of_policies(*, rounds: int) -> Table:
    """Of every policy, at every size."""
    table = Table(
        "What policies of eviction cost",
        ("policy", "entries", "a use, µs", "a store, µs", "one eviction, ms", "the same per 1,000 entries, ms"),
        note=f"A store into a full cache, with its share of evictions. Medians of {rounds} rounds.",
    )
    for name, policy in POLICIES.items():
        for entries in SIZES:
            median = _median_costs(policy, entries, rounds)
            milliseconds = 1e3 * median.eviction
            per_thousand = milliseconds / (entries / 1000)
            table.rows.append((name, entries, 1e6 * median.use, 1e6 * median.store, milliseconds, per_thousand))
    return table


def _median_costs(policy: Policy, entries: int, rounds: int) -> Costs:
    measured = [costs(policy(entries), entries=entries, seed=seed) for seed in range(rounds)]
    return Costs(
        use=statistics.median(cost.use for cost in measured),
        store=statistics.median(cost.store for cost in measured),
        eviction=statistics.median(cost.eviction for cost in measured),
    )

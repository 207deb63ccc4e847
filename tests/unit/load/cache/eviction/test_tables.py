"""The tables that the simulation prints."""

from load.cache.eviction.costs import costs
from load.cache.eviction.policies import POLICIES
from load.cache.eviction.tables import CAPACITIES, hit_rates
from load.cache.eviction.traces import TRACES


def test_there_is_a_row_for_each_trace_and_size_and_a_column_for_each_policy() -> None:
    table = hit_rates(seeds=[1, 2], count=500)
    assert [row[:2] for row in table.rows] == [(trace, capacity) for trace in TRACES for capacity in CAPACITIES]
    assert list(table.columns[2:]) == list(POLICIES)
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_every_policy_can_be_measured() -> None:
    for policy in POLICIES.values():
        measured = costs(policy(200), entries=200, seed=1)
        assert measured.eviction > 0
        assert measured.use > 0
        assert measured.store > 0

"""The table of hits beside misses."""

from load.cache.mesh import HIT, MISS, Row, table_of
from load.measuring.speed import Speed

ALONE = [Speed(10, p50_ms=4, p99_ms=9), Speed(10, p50_ms=6, p99_ms=11)]
TOGETHER = [Speed(100, p50_ms=1, p99_ms=2), Speed(300, p50_ms=1, p99_ms=2)]


def test_latencies_are_of_one_request_at_a_time_and_a_p99_needs_many_of_them() -> None:
    table = table_of([Row("REST", kind, ALONE, TOGETHER) for kind in (HIT, MISS)], rounds=2)
    assert table.rows == [("REST", "hit", 5, 10, 200, 100, 300), ("REST", "miss", 5, "-", 200, 100, 300)]

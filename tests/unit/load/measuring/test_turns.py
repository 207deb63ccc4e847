"""Speeds beside that of the empty RPC."""

from load.measuring.speed import Speed
from load.measuring.turns import comparison


def test_each_share_is_of_the_empty_rpc_in_the_same_round() -> None:
    measured = {
        "nothing": [Speed(1000, p50_ms=1, p99_ms=2), Speed(500, p50_ms=1, p99_ms=2)],
        "something": [Speed(600, p50_ms=3, p99_ms=4), Speed(400, p50_ms=5, p99_ms=6)],
    }
    table = comparison("Speed", "call", measured, empty="nothing", note="")
    assert table.rows == [
        ("nothing", 750, 500, 1000, 1, 1, 1, 1, 2),
        ("something", 500, 400, 600, 0.7, 0.6, 0.8, 4, 5),
    ]

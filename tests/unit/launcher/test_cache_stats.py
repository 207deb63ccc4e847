"""The numbers of a cache process, for people and for programs."""

import json

from envoyconf.topology import Topology
from launcher.cache import stats as cache_stats
from launcher.cache.policies import POLICIES
from shoal.cache.v1 import cache_pb2

STATS = cache_pb2.StatsResponse(
    replica="cache-2",
    levels=[
        cache_pb2.LevelStats(
            level="l1", hits=30, misses=10, failures=1, stores=10, evictions=4, entries=6, size_bytes=12_345, corrupt=2
        ),
        cache_pb2.LevelStats(level="l2"),
    ],
    policies=[
        cache_pb2.PolicyStats(
            policy=cache_pb2.POLICY_TOOL_RESULT,
            hits=31,
            stale_hits=3,
            misses=9,
            levels=[cache_pb2.LevelStats(level="l1", hits=30, misses=10)],
            too_large=5,
            invalidated=6,
            saved=cache_pb2.Worth(input_tokens=1000, output_tokens=234, cost_usd=0.5),
            ttl_seconds=600,
        )
    ],
)


def lines() -> list[str]:
    return cache_stats.as_tables(STATS).splitlines()


def cells(first: str) -> list[list[str]]:
    """Of the lines that begin so."""
    return [line.split() for line in lines() if line.split()[:1] == [first]]


def test_each_level_has_a_line_with_its_counts_and_what_it_holds_unless_that_is_shared() -> None:
    assert cells("l2") == [["l2", "0", "0", "-", "0", "0", "0", "-", "-", "-"]]
    assert cells("l1")[0] == ["l1", "30", "10", "75.0%", "10", "2", "1", "4", "6", "12,345"]


def test_each_policy_has_a_line_one_below_it_for_each_level_and_one_for_what_it_saved() -> None:
    whole, worth = cells("tool_result")
    assert whole == ["tool_result", "all", "31", "3", "9", "77.5%"]
    assert cells("l1")[1] == ["l1", "30", "10", "75.0%", "0", "0", "0"]
    assert worth == ["tool_result", "600", "s", "1,234", "$0.500000", "5", "6"]


def test_it_says_whose_numbers_these_are_and_where_the_others_are() -> None:
    assert lines()[0] == "cache-2, since it started"
    assert "those of cache-2 alone" in cache_stats.as_tables(STATS)
    assert "http://127.0.0.1:9111/metrics" in cache_stats.as_tables(STATS)


def test_where_the_numbers_are_is_where_the_mesh_has_them() -> None:
    assert Topology.default(caches=2).cache.metrics_ports == (9111, 9112)


def test_programs_get_every_number() -> None:
    told = json.loads(cache_stats.as_json(STATS))
    assert told["replica"] == "cache-2"
    assert told["levels"][0] == {
        "level": "l1", "hits": 30, "misses": 10, "hit_rate": 0.75, "stores": 10, "corrupt": 2, "failures": 1,
        "evictions": 4, "entries": 6, "size_bytes": 12_345,
    }  # fmt: skip
    assert [told["levels"][1][name] for name in ("hit_rate", "evictions", "entries", "size_bytes")] == [None] * 4
    [policy] = told["policies"]
    assert (policy["policy"], policy["stale_hits"], policy["ttl_seconds"]) == ("tool_result", 3, 600)
    assert policy["saved"] == {"input_tokens": 1000, "output_tokens": 234, "cost_usd": 0.5}


def test_the_policies_that_can_be_named_are_those_of_the_protocol() -> None:
    assert POLICIES == {
        "response": cache_pb2.POLICY_RESPONSE,
        "model_output": cache_pb2.POLICY_MODEL_OUTPUT,
        "conversation_context": cache_pb2.POLICY_CONVERSATION_CONTEXT,
        "tool_result": cache_pb2.POLICY_TOOL_RESULT,
    }

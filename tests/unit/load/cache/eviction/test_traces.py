"""The traces of the simulation."""

import itertools
from collections import Counter

import pytest

from load.cache.eviction.traces import KEYS, LOOP_PER_ENTRY, TRACES, requests, zipf

CAPACITY = 100


def keys_of(trace: str, count: int, seed: int = 1) -> list[str]:
    return [key for _, key in requests(TRACES[trace], seed=seed, capacity=CAPACITY, count=count)]


@pytest.mark.parametrize("trace", TRACES)
def test_a_trace_is_as_long_as_asked_and_the_same_for_the_same_seed(trace: str) -> None:
    first, again, other = (requests(TRACES[trace], seed=seed, capacity=CAPACITY, count=2000) for seed in (1, 1, 2))
    assert len(first) == 2000
    assert first == again != other


@pytest.mark.parametrize("trace", TRACES)
def test_the_clock_advances_with_each_request(trace: str) -> None:
    times = [now for now, _ in requests(TRACES[trace], seed=1, capacity=CAPACITY, count=5000)]
    assert all(earlier < later for earlier, later in itertools.pairwise(times))
    assert 0.09 < times[-1] / 5000 < 0.11


def test_ranks_are_asked_for_as_zipf_says() -> None:
    counts = Counter(key for _, key in requests(zipf(1.1), seed=1, capacity=CAPACITY, count=100_000))
    assert 1.9 < counts["0"] / counts["1"] < 2.4
    assert 10 < counts["0"] / counts["9"] < 16
    assert all(int(key) < KEYS for key in counts)


def test_scans_come_between_and_never_repeat() -> None:
    keys = keys_of("Zipf 0.9 with scans", 50_000)
    scanned = [position for position, key in enumerate(keys) if key.startswith("scanned")]
    assert scanned == [position for position in range(50_000) if position % 10_000 >= 9000]
    assert len({keys[position] for position in scanned}) == len(scanned)


def test_the_loop_goes_round_in_one_order() -> None:
    size = int(CAPACITY * LOOP_PER_ENTRY)
    keys = keys_of("a loop 1.5 times the cache", 4 * size)
    assert len(set(keys)) == size
    assert keys[size:] == keys[:-size]


def test_fashion_changes_what_is_popular() -> None:
    keys = keys_of("Zipf 0.9 of changing fashion", 40_000)
    favourites = [{key for key, _ in Counter(part).most_common(20)} for part in (keys[:20_000], keys[20_000:])]
    assert len(favourites[0] & favourites[1]) < 3

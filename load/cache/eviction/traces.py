"""Traces: the requests of a simulated day, each with its time and its key."""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

KEYS = 10_000
"""How many keys there are, but for those of scans."""
REQUESTS_PER_SECOND = 10.0

ZIPF_EVERY_SCAN = 9000
KEYS_OF_A_SCAN = 1000
LOOP_PER_ENTRY = 1.5
REQUESTS_PER_FASHION = 20_000

Request = tuple[float, str]
"""Its time in seconds, and the key that it asks for."""
Source = Callable[[random.Random, int], Iterator[str]]
"""Endless keys, from a generator of random numbers and the size of the cache."""


def requests(source: Source, *, seed: int, capacity: int, count: int) -> list[Request]:
    """The same for the same arguments. The clock advances with each request, by exponentially distributed steps."""
    rng = random.Random(seed)
    steps = (rng.expovariate(REQUESTS_PER_SECOND) for _ in itertools.count())
    clock = itertools.accumulate(steps)
    keys = source(random.Random(seed), capacity)
    return [(next(clock), key) for key in itertools.islice(keys, count)]


def zipf(alpha: float) -> Source:
    """The key of rank r is asked for in proportion to r ** -alpha."""
    return lambda rng, _: map(str, _ranks(rng, alpha))


def zipf_with_scans(alpha: float) -> Source:
    """After every 9,000 requests come 1,000 for keys that nobody asks for before or after."""

    def keys(rng: random.Random, _: int) -> Iterator[str]:
        ranks = _ranks(rng, alpha)
        scanned = itertools.count()
        while True:
            yield from map(str, itertools.islice(ranks, ZIPF_EVERY_SCAN))
            yield from (f"scanned {number}" for number in itertools.islice(scanned, KEYS_OF_A_SCAN))

    return keys


def zipf_of_fashion(alpha: float) -> Source:
    """After every 20,000 requests other keys are the popular ones."""

    def keys(rng: random.Random, _: int) -> Iterator[str]:
        ranks = _ranks(rng, alpha)
        while True:
            order = rng.sample(range(KEYS), KEYS)
            yield from (str(order[rank]) for rank in itertools.islice(ranks, REQUESTS_PER_FASHION))

    return keys


def loop(rng: random.Random, capacity: int) -> Iterator[str]:
    """Half as many keys again as the cache holds, round and round in the same order."""
    keys = int(capacity * LOOP_PER_ENTRY)
    return map(str, itertools.cycle(rng.sample(range(keys), keys)))


def _ranks(rng: random.Random, alpha: float) -> Iterator[int]:
    weights = list(itertools.accumulate(rank**-alpha for rank in range(1, KEYS + 1)))
    while True:
        yield from rng.choices(range(KEYS), cum_weights=weights, k=1000)


TRACES: Mapping[str, Source] = MappingProxyType(
    {
        "Zipf 0.7": zipf(0.7),
        "Zipf 0.9": zipf(0.9),
        "Zipf 1.1": zipf(1.1),
        "Zipf 0.9 with scans": zipf_with_scans(0.9),
        "a loop 1.5 times the cache": loop,
        "Zipf 0.9 of changing fashion": zipf_of_fashion(0.9),
    }
)
"""By the names that the tables show."""

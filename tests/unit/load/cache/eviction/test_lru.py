"""Eviction of what was used least recently."""

from load.cache.eviction.lru import Lru


def test_the_least_recently_used_goes_first() -> None:
    eviction = Lru()
    for key in ("a", "b", "c", "d"):
        eviction.stored(key, 0.0)
    eviction.used("a", 1.0)
    eviction.stored("b", 2.0)
    eviction.removed("c")
    assert [eviction.victims(3.0) for _ in range(4)] == [["d"], ["a"], ["b"], []]

"""The simulation: a cache of so many entries and nothing else, on a trace."""

from collections.abc import Sequence

from load.cache.eviction.traces import Request
from services.cache.eviction.eviction import Eviction


class SimulatedCache:
    """Keeps keys, at most `capacity` of them. What is asked for in vain is stored."""

    def __init__(self, eviction: Eviction, *, capacity: int) -> None:
        self._eviction = eviction
        self._capacity = capacity
        self._held: set[str] = set()

    def ask(self, key: str, now: float) -> bool:
        """Whether it was a hit. Raises KeyError if the eviction names a victim that is not held, or none."""
        if key in self._held:
            self._eviction.used(key, now)
            return True
        while len(self._held) >= self._capacity:
            self._make_room(now)
        self._held.add(key)
        self._eviction.stored(key, now)
        return False

    def _make_room(self, now: float) -> None:
        victims = self._eviction.victims(now)
        if not victims:
            raise KeyError("nothing makes room")
        for victim in victims:
            self._held.remove(victim)


def hit_rate(eviction: Eviction, trace: Sequence[Request], *, capacity: int, warm_up: int) -> float:
    """Hits of all requests after the first `warm_up`, 0 to 1."""
    cache = SimulatedCache(eviction, capacity=capacity)
    hits = [cache.ask(key, now) for now, key in trace][warm_up:]
    return sum(hits) / len(hits)

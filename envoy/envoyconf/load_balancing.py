"""How calls are spread over the agents: the strategies, and how the setting names them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

ALLOWED = (
    "least_request, round_robin, ring_hash:session, ring_hash:address, maglev:session, maglev:address, "
    "or weights:3:1:1 with a whole number from 1 to 1000 for each replica"
)
MOST_WEIGHT = 1000


class Strategy(StrEnum):
    """Who chooses."""

    LEAST_REQUEST = "least_request"
    """The less busy of two random replicas."""
    ROUND_ROBIN = "round_robin"
    """Each in its turn."""
    RING_HASH = "ring_hash"
    """The same replica for the same key; a change of the pool moves the fewest keys."""
    MAGLEV = "maglev"
    """The same, spread more evenly; a change of the pool moves about twice as many keys."""
    WEIGHTS = "weights"
    """Each in its turn, as often as its weight says."""


class HashKey(StrEnum):
    """What is hashed."""

    SESSION = "session"
    """The session, or the client's address where a call has none."""
    ADDRESS = "address"
    """The client's address."""


@dataclass(frozen=True, kw_only=True)
class LoadBalancing:
    """A strategy with what it needs to know."""

    strategy: Strategy = Strategy.LEAST_REQUEST
    key: HashKey | None = None
    """Of RING_HASH and MAGLEV only."""
    weights: tuple[int, ...] = ()
    """Of WEIGHTS only: those of the first replicas. All others weigh 1."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the setting. Raises ValueError, with all that is allowed."""
        name, *details = text.split(":")
        match name, details:
            case (("least_request" | "round_robin"), []):
                return cls(strategy=Strategy(name))
            case (("ring_hash" | "maglev"), ["session" | "address" as key]):
                return cls(strategy=Strategy(name), key=HashKey(key))
            case "weights", [_, *_] if all(map(_is_weight, details)):
                return cls(strategy=Strategy.WEIGHTS, weights=tuple(map(int, details)))
        raise ValueError(f"'{text}' is no way to spread calls; allowed are {ALLOWED}.")

    def weight_of(self, number: int) -> int:
        """The weight of a replica, counted from 1."""
        return self.weights[number - 1] if number <= len(self.weights) else 1


LEAST_REQUEST = LoadBalancing()
RING_HASH = LoadBalancing(strategy=Strategy.RING_HASH)


def _is_weight(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST_WEIGHT

"""Times to live that follow the traffic: longer while too few look-ups hit, shorter while more hit than need be.

Why it does not swing. A longer time to live hits more often, by how much is bounded: where look-ups of a key come
independently of each other at any rate, the hit rate h is rate * ttl / (1 + rate * ttl), so it moves by h * (1 - h) for
each factor e of the ttl, and a mixture of keys moves less. A growth by a quarter near the target of 0.70 adds at most
0.21 * ln 1.25 = 0.047, which is less than BAND: it cannot leap from below the target to above the band, and a
shrinkage by a tenth cannot leap back. Nor is the same shortfall acted on twice: an answer keeps the time to live with
which it was stored, so after a change nothing is measured until one full time to live has passed. And a window lasts a
full time to live, for answers that were stored together expire together: in parts of it everything hits or misses.
"""

from dataclasses import dataclass
from enum import StrEnum

from services.cache.policies import Policy, PolicyName

GROWTH = 1.25
SHRINKAGE = 0.9
"""Slower than growth: a miss costs a computation, an answer kept for too long costs a little freshness."""
BAND = 0.05
"""So far above the target the hit rate may be before the time to live shrinks."""
LEAST_LOOK_UPS = 1000
"""A hit rate of 0.70 over so many look-ups is known to about 0.015, less than a third of the band."""


class Direction(StrEnum):
    """Which way a time to live was changed."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class TtlChange:
    """One change, and why."""

    policy: PolicyName
    from_seconds: float
    to_seconds: float
    hit_rate: float
    look_ups: int
    why: str

    @property
    def direction(self) -> Direction:
        return Direction.UP if self.to_seconds > self.from_seconds else Direction.DOWN


@dataclass(frozen=True, slots=True)
class _Window:
    """What is measured: from `begins` on, beyond the hits and look-ups that there were then."""

    begins: float
    hits: int
    look_ups: int


class TunedTtl:
    """The time to live of one policy: what it was set to, moved within the policy's bounds if it has both."""

    def __init__(self, policy: Policy, *, target_hit_rate: float) -> None:
        self.seconds = policy.ttl_seconds
        self.changes = dict.fromkeys(Direction, 0)
        """How often it was changed, by direction."""
        self._policy = policy
        self._target = target_hit_rate
        self._window: _Window | None = None

    def review(self, *, hits: int, look_ups: int, now: float) -> TtlChange | None:
        """Compares the hit rate since the last review that counted with the target, and changes the time to live.

        `hits` and `look_ups` are those since the process started, `now` is of any steady clock in seconds. A window
        that is too short, or has too few look-ups, goes on until the next review.
        """
        window = self._window or _Window(now + self.seconds, hits, look_ups)
        if now < window.begins:
            self._window = _Window(window.begins, hits, look_ups)
            return None
        in_window = look_ups - window.look_ups
        if now < window.begins + self.seconds or in_window < LEAST_LOOK_UPS:
            return None
        change = self._change((hits - window.hits) / in_window, in_window)
        settled_at = now
        if change:
            self.seconds = change.to_seconds
            self.changes[change.direction] += 1
            settled_at += max(change.from_seconds, change.to_seconds)
        self._window = _Window(settled_at, hits, look_ups)
        return change

    def _change(self, hit_rate: float, look_ups: int) -> TtlChange | None:
        wanted, why = self._wanted(hit_rate)
        if wanted == self.seconds:
            return None
        return TtlChange(
            policy=self._policy.name,
            from_seconds=self.seconds,
            to_seconds=wanted,
            hit_rate=hit_rate,
            look_ups=look_ups,
            why=why,
        )

    def _wanted(self, hit_rate: float) -> tuple[float, str]:
        """The time to live that the hit rate asks for, within the bounds, and why."""
        shortest, longest = self._policy.ttl_min_seconds, self._policy.ttl_max_seconds
        if shortest is None or longest is None:
            return self.seconds, "it has no bounds to be tuned within"
        if hit_rate < self._target:
            return min(longest, self.seconds * GROWTH), f"fewer than {self._target:.0%} of the look-ups hit"
        if hit_rate > self._target + BAND:
            return max(shortest, self.seconds * SHRINKAGE), f"more than {self._target + BAND:.0%} of the look-ups hit"
        return self.seconds, "the hit rate is as wanted"

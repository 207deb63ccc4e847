"""What goes on beside the calls."""

import asyncio

import pytest
import structlog

from services.cache import upkeep
from services.cache.counts import new_counts
from services.cache.levels.level import LevelUnavailableError
from services.cache.policies import DEFAULT_POLICIES, PolicyName
from services.cache.policy_settings import policies_with
from services.cache.ttl_tuning import LEAST_LOOK_UPS, TunedTtl


class Shelf:
    """Something to purge that fails as often as told."""

    def __init__(self, *, failures: int) -> None:
        self._failures = failures
        self.purged_at: list[float] = []

    async def purge(self, now: float) -> int:
        if self._failures:
            self._failures -= 1
            raise LevelUnavailableError("out")
        self.purged_at.append(now)
        return 0


async def test_a_purge_that_fails_is_tried_again_the_next_time() -> None:
    shelf, now = Shelf(failures=2), 0.0

    async def pause(seconds: float) -> None:
        nonlocal now
        now += seconds
        if len(shelf.purged_at) == 2:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await upkeep.purge_regularly(shelf, clock=lambda: now, pause=pause)
    assert shelf.purged_at == [2 * upkeep.PURGE_SECONDS, 3 * upkeep.PURGE_SECONDS]


async def test_each_change_is_a_line_in_the_log_that_says_why() -> None:
    policies = policies_with("response.ttl_min=600, response.ttl_max=7200", defaults=DEFAULT_POLICIES)
    ttls = {name: TunedTtl(policy, target_hit_rate=0.7) for name, policy in policies.items()}
    counts = new_counts(policies.values())
    now = 0.0

    async def pause(seconds: float) -> None:
        nonlocal now
        now += 3600
        counts[PolicyName.RESPONSE].misses += LEAST_LOOK_UPS
        if now > 4 * 3600:
            raise asyncio.CancelledError

    with structlog.testing.capture_logs() as lines, pytest.raises(asyncio.CancelledError):
        await upkeep.tune_regularly(ttls, counts, window_seconds=300, clock=lambda: now, pause=pause)
    assert lines == [
        {
            "event": "time to live tuned",
            "log_level": "info",
            "policy": "response",
            "from_seconds": 3600.0,
            "to_seconds": 4500.0,
            "hit_rate": 0.0,
            "look_ups": 2 * LEAST_LOOK_UPS,
            "why": "fewer than 70% of the look-ups hit",
        }
    ]

"""Three limiter processes keep one limit together, also while their Redis is killed and comes back empty."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from meshkit.channel import open_channel
from shoal.external import rls_pb2_grpc
from shoal.external.rls_pb2 import RateLimitRequest, RateLimitResponse
from tests.backends import Valkey, running_valkey, wait_until
from tests.integration.ratelimit.ratelimit_process import (
    TIMEOUT_SECONDS,
    RatelimitProcess,
    descriptor,
    environ,
    make_tables,
    started,
)

LIMITERS = 3
RATE, BURST = 20, 30


@dataclass(frozen=True, slots=True)
class Fleet:
    """The limiters and the Redis that they share."""

    limiters: list[RatelimitProcess]
    redis: Valkey

    def are_all(self, *, degraded: bool) -> bool:
        return all(limiter.metrics()["shoal_ratelimit_degraded"] == degraded for limiter in self.limiters)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        redis = stack.enter_context(running_valkey(tmp_path))
        limiters = []
        for number in range(1, LIMITERS + 1):
            folder = tmp_path / f"limiter-{number}"
            folder.mkdir()
            settings = environ(folder, redis_url=redis.url)
            settings |= {"SHOAL_TIERS": f"anonymous={RATE}/{BURST}", "SHOAL_REPLICA": f"ratelimit-{number}"}
            make_tables(settings)
            limiters.append(stack.enter_context(started(settings)))
        wait_until(
            lambda: all(limiter.metrics()["shoal_ratelimit_limiters"] == LIMITERS for limiter in limiters),
            "that the limiters count each other",
        )
        yield Fleet(limiters, redis)


class Client:
    """Asks all limiters in turn, as fast as they answer, from one address."""

    def __init__(self, stubs: "list[rls_pb2_grpc.RateLimitServiceAsyncStub]") -> None:
        self._stubs = stubs
        self._began = time.monotonic()
        self.admitted = 0

    async def ask_for(self, seconds: float) -> int:
        """How many requests were admitted in that time."""
        before, end = self.admitted, time.monotonic() + seconds
        entries = descriptor(masked_remote_address="203.0.113.9/32", surface="rest", route="task")
        question = RateLimitRequest(domain="shoal", descriptors=[entries])
        while time.monotonic() < end:
            for stub in self._stubs:
                answer = await stub.ShouldRateLimit(question, timeout=TIMEOUT_SECONDS)
                self.admitted += answer.overall_code == RateLimitResponse.OK
        return self.admitted - before

    def allowance(self, *, bursts: int) -> float:
        """What rate and so many bursts have allowed since the beginning."""
        return RATE * (time.monotonic() - self._began) + bursts * BURST


@asynccontextmanager
async def client_of(fleet: Fleet) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(open_channel(each.envoy_address)) for each in fleet.limiters]
        yield Client([rls_pb2_grpc.RateLimitServiceStub(channel) for channel in channels])


async def test_the_limit_holds_over_all_of_them_and_is_used_up(fleet: Fleet) -> None:
    async with client_of(fleet) as client:
        await client.ask_for(2)
        assert client.admitted >= BURST + RATE
        assert client.admitted <= client.allowance(bursts=1)


async def test_with_redis_killed_and_back_again_no_more_passes_than_rate_and_three_bursts(fleet: Fleet) -> None:
    async with client_of(fleet) as client:
        assert await client.ask_for(0.5) > 0
        fleet.redis.kill()
        assert await client.ask_for(1.5) > 0
        assert fleet.are_all(degraded=True)
        fleet.redis.start()
        assert await client.ask_for(0.5) > 0
        await asyncio.to_thread(wait_until, lambda: fleet.are_all(degraded=False), "the recovery")
        # What one limiter let through before another had charged its part makes a debt of at most one burst.
        assert await client.ask_for(BURST / RATE + 1) > 0
        assert client.admitted <= client.allowance(bursts=3)

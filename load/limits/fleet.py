"""Three limiters and 300 clients that ask too much; Redis is there all the time, or killed in the middle."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from load.limits import decisions, questions
from load.limits.admitted import Tier
from load.limits.limiters import Limiter, running_limiter, running_limiters
from load.limits.overload import Client, Overload
from load.measuring import metrics
from load.measuring.home import Home
from load.measuring.keys import create_keys
from load.measuring.servers import Valkey
from load.measuring.waiting import until

LIMITERS = 3
TIERS = (
    Tier("free", rate=1, burst=10, clients=270, overload=1.5),
    Tier("basic", rate=10, burst=50, clients=27, overload=1.25),
    Tier("premium", rate=100, burst=200, clients=3, overload=1.25),
)
"""About 1,100 questions a second, which two cores can ask and answer."""

_SETTINGS = {"SHOAL_TIERS": ",".join(["anonymous=1/10", *(f"{tier.name}={tier.rate}/{tier.burst}" for tier in TIERS)])}
_RECOVERY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Outage:
    """When Redis was killed and when it was there again, on the clock of the overload, and how many seconds later each
    limiter decided with it again."""

    killed: float
    back: float
    recovered_after: list[float]


async def with_redis(seconds: float) -> tuple[Overload, int]:
    """The overload of so many seconds, over, and how many decisions were made as if Redis were gone."""
    async with (
        Home.made() as home,
        Valkey(home).running() as redis_url,
        _overloaded(home, redis_url) as (fleet, overload),
    ):
        await overload.run(seconds)
        return overload, await decisions.decided_alone(limiter.metrics_port for limiter in fleet)


async def with_redis_killed(seconds: float, *, gone_seconds: float) -> tuple[Overload, Outage]:
    """As `with_redis`, and Redis is gone for so many seconds in the middle."""
    async with Home.made() as home, AsyncExitStack() as valkey:
        redis = Valkey(home)
        await valkey.enter_async_context(redis.running())
        async with _overloaded(home, redis.url) as (fleet, overload), asyncio.TaskGroup() as group:
            group.create_task(overload.run(seconds))
            await asyncio.sleep((seconds - gone_seconds) / 2)
            killed = time.perf_counter()
            await valkey.aclose()
            await asyncio.sleep(gone_seconds)
            await valkey.enter_async_context(redis.running())
            back = time.perf_counter()
            recovered = await asyncio.gather(*(_decides_with_redis(limiter) for limiter in fleet))
        return overload, Outage(killed, back, [at - back for at in recovered])


@asynccontextmanager
async def _overloaded(home: Home, redis_url: str) -> AsyncIterator[tuple[list[Limiter], Overload]]:
    tiers = [tier for tier in TIERS for _ in range(tier.clients)]
    # Keys that are there before the limiters are known to them from the start.
    async with running_limiter(home, redis_url, settings=_SETTINGS) as limiter:
        keys = await create_keys(home, limiter.address, [tier.name for tier in tiers])
    clients = [
        Client(tier, questions.from_client(f"10.0.{number // 256}.{number % 256}/32", api_key=key))
        for number, (tier, key) in enumerate(zip(tiers, keys, strict=True))
    ]
    async with running_limiters(home, redis_url, LIMITERS, settings=_SETTINGS) as fleet:
        yield fleet, Overload(clients, [limiter.envoy_address for limiter in fleet])


async def _decides_with_redis(limiter: Limiter) -> float:
    """When the limiter said so. Raises TimeoutError if it does not."""

    async def is_shared() -> bool:
        [is_degraded] = await metrics.read(limiter.metrics_port, decisions.DEGRADED)
        return not is_degraded

    await until("a limiter that decides with Redis again", is_shared, seconds=_RECOVERY_SECONDS)
    return time.perf_counter()

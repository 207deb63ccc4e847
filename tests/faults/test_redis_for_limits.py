"""Redis for limits fails in every way we know: each request is answered, not too many pass, and all mends itself."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from load.measuring.ports import free_port
from meshkit.redis import open_redis
from tests.backends import Valkey, running_valkey
from tests.faults.bystanders import Bystanders, BystandersOf
from tests.faults.waiting import until
from tests.mesh import Mesh, running_mesh
from tests.simulated_model import ModelProcess
from tests.tcp_proxy import TcpProxy, tcp_proxy

BURST = 12
"""Of a key of the tier slow, which gets a token back in a quarter of an hour."""
TIERS = f"anonymous=10/100,slow=0.001/{BURST},premium=100/200"
PATH = "/v1/models"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class World:
    """A mesh whose limiter reaches its Redis through a proxy, an operator who goes round the proxy, and bystanders."""

    mesh: Mesh
    server: Valkey
    proxy: TcpProxy
    operator: Redis
    others: Bystanders
    session: aiohttp.ClientSession

    async def restart(self) -> None:
        self.server.kill()
        await asyncio.to_thread(self.server.start)

    async def flush_scripts(self) -> None:
        await self.operator.script_flush()

    async def follow_nobody(self) -> None:
        await self.operator.config_set("replica-serve-stale-data", "yes")
        await self.operator.replicaof("127.0.0.1", free_port())

    async def lead_again(self) -> None:
        await self.operator.replicaof("NO", "ONE")

    async def want_replicas(self) -> None:
        await self.operator.config_set("min-replicas-to-write", 1)

    async def want_none(self) -> None:
        await self.operator.config_set("min-replicas-to-write", 0)

    async def fill_memory(self) -> None:
        await self.operator.config_set("maxmemory-policy", "noeviction")
        await self.operator.config_set("maxmemory", 1)

    async def free_memory(self) -> None:
        await self.operator.config_set("maxmemory", 0)

    async def slow_down(self) -> None:
        self.proxy.delay_seconds = 0.2

    async def speed_up(self) -> None:
        self.proxy.delay_seconds = 0

    async def swallow(self) -> None:
        self.proxy.swallow()

    async def pass_on(self) -> None:
        self.proxy.pass_on()

    async def forget_connections(self) -> None:
        self.proxy.forget_connections()

    async def refuse(self) -> None:
        await self.proxy.refuse()

    async def listen(self) -> None:
        await self.proxy.listen()

    async def nothing(self) -> None:
        """It is over by itself."""

    async def admitted(self, key: str, wishes: int) -> int:
        """How many of so many requests of a key pass. The others must be refused for their number."""
        statuses = [await self._status(key) for _ in range(wishes)]
        assert set(statuses) <= {200, 429}, statuses
        return statuses.count(200)

    async def _status(self, key: str) -> int:
        async with self.session.get(PATH, headers={"X-API-Key": key}) as answer:
            return answer.status

    async def decides_with_redis(self) -> None:
        """Waits until the limiter does."""
        await until(self._is_shared, "decisions with Redis")

    async def _is_shared(self) -> bool:
        return await self._metric("shoal_ratelimit_degraded") == 0

    async def alone(self) -> float:
        """How many decisions the limiter has made without Redis."""
        return await self._metric("shoal_ratelimit_degraded_decisions_total")

    async def _metric(self, name: str) -> float:
        async with self.session.get(f"http://127.0.0.1:{self.mesh.metrics_port('ratelimit-1')}/metrics") as answer:
            shown = re.search(rf"^{name} (.+)$", await answer.text(), re.MULTILINE)
        assert shown, name
        return float(shown[1])


@dataclass(frozen=True)
class Fault:
    """What happens to Redis, and how it is undone."""

    begin: Callable[[World], Awaitable[None]]
    end: Callable[[World], Awaitable[None]] = World.nothing
    is_outage: bool = True
    """Whether the limiter has to decide alone for as long as it lasts."""


FAULTS = {
    "restarted": Fault(World.restart, is_outage=False),
    "scripts flushed": Fault(World.flush_scripts, is_outage=False),
    "read-only, as after a failover": Fault(World.follow_nobody, World.lead_again),
    "too few replicas to write": Fault(World.want_replicas, World.want_none),
    "out of memory": Fault(World.fill_memory, World.free_memory),
    "200 ms away": Fault(World.slow_down, World.speed_up),
    "a black hole": Fault(World.swallow, World.pass_on),
    "connections half open": Fault(World.forget_connections, is_outage=False),
    "refusing connections": Fault(World.refuse, World.listen),
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(
    model: ModelProcess, bystanders: BystandersOf, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        async with tcp_proxy(server.port) as proxy, open_redis(server.url, timeout_seconds=5) as operator:
            starting = running_mesh(
                SHOAL_MODEL_BASE_URL=f"{model.url}/v1",
                SHOAL_AGENT_REPLICAS="2",
                SHOAL_LIMITS_REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0",
                SHOAL_TIERS=TIERS,
            )
            mesh = await asyncio.to_thread(starting.__enter__)
            try:
                async with bystanders(mesh, sse=2, grpc=2) as others, aiohttp.ClientSession(mesh.url) as session:
                    await others.quiet()
                    yield World(mesh, server, proxy, operator, others, session)
            finally:
                await asyncio.to_thread(starting.__exit__, None, None, None)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def keys(world: World) -> dict[str, str]:
    """A key for each fault, so that its bucket is full."""
    create = (asyncio.to_thread(world.mesh.create_key, tenant="asker", tier="slow") for _ in FAULTS)
    return dict(zip(FAULTS, await asyncio.gather(*create), strict=True))


@pytest.mark.parametrize("name", FAULTS)
async def test_requests_are_answered_and_counted_and_it_mends_itself(
    name: str, world: World, keys: dict[str, str]
) -> None:
    fault, key = FAULTS[name], keys[name]
    await world.decides_with_redis()
    assert await world.admitted(key, 5) == 5
    before = await world.alone()
    await fault.begin(world)
    admitted = await world.admitted(key, 20)
    if fault.is_outage:
        assert await world.alone() - before >= 20
    await world.others.during(f"Redis for limits: {name}")
    await fault.end(world)
    await world.decides_with_redis()
    admitted += await world.admitted(key, 20)
    assert 5 + admitted <= 3 * BURST
    before = await world.alone()
    assert await world.admitted(key, 5) == 0
    assert await world.alone() == before

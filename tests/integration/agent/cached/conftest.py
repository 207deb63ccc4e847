"""One agent over the real cache service."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.agent.agent_process import AgentProcess, Caller
from tests.integration.agent.cached.cached_agent import cached_agent
from tests.integration.cache.cache_process import CacheProcess
from tests.integration.cache.caller import Caller as CacheCaller
from tests.mesh_identity import signed
from tests.simulated_model import ModelProcess


@pytest.fixture(scope="package")
def mesh(
    valkey_url: str, running_model: ModelProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[AgentProcess, CacheProcess]]:
    folder = tmp_path_factory.mktemp("cached")
    with cached_agent(folder, redis_url=valkey_url, model_url=running_model.url) as processes:
        yield processes


@pytest.fixture
async def acme(mesh: tuple[AgentProcess, CacheProcess], tenant: str) -> AsyncIterator[Caller]:
    async with Caller(mesh[0].address, signed(tenant)) as caller:
        yield caller


@pytest.fixture
async def cache(mesh: tuple[AgentProcess, CacheProcess], tenant: str) -> AsyncIterator[CacheCaller]:
    """The cache on behalf of the same tenant."""
    async with CacheCaller(mesh[1], signed(tenant)) as caller:
        yield caller

"""One gateway and one agent for all tests that need no particular ones. All run on one event loop, with the agent."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from load.measuring.ports import free_port
from tests.integration.gateway.gateway_process import GatewayProcess, running_gateway
from tests.integration.gateway.scripted_agent import ScriptedAgent, served
from tests.mesh_identity import SIGNER, signed


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def agent_port() -> int:
    return free_port()


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def agent(agent_port: int) -> AsyncIterator[ScriptedAgent]:
    agent = ScriptedAgent()
    async with served(agent, port=agent_port, signer=SIGNER):
        yield agent


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def gateway(
    agent: ScriptedAgent, agent_port: int, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GatewayProcess]:
    async with running_gateway(tmp_path_factory.mktemp("gateway"), mesh_port=agent_port) as gateway:
        yield gateway


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def http(gateway: GatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A client that carries an identity."""
    async with gateway.client() as client:
        yield client


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def openai(gateway: GatewayProcess) -> AsyncIterator[AsyncOpenAI]:
    """The official client; it never tries again by itself."""
    async with AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key="any", default_headers=dict(signed()), max_retries=0
    ) as client:
        yield client

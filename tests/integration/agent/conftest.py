"""One agent over real Valkey, SQLite and the simulated model, with no cache to reach."""

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.agent.agent_process import AgentProcess, Caller, agent_process
from tests.mesh_identity import signed
from tests.simulated_model import ModelProcess, Server, clients_of, model_process


@pytest.fixture(scope="package")
def running_model() -> Iterator[ModelProcess]:
    with model_process("--model", "small", "--model", "large") as model:
        yield model


@pytest.fixture(scope="package")
def agent(
    valkey_url: str, running_model: ModelProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AgentProcess]:
    folder = tmp_path_factory.mktemp("agent")
    with agent_process(folder, redis_url=valkey_url, model_url=running_model.url) as process:
        yield process


@pytest.fixture
async def model(running_model: ModelProcess) -> AsyncIterator[Server]:
    """The simulated model with its counts at zero."""
    async with clients_of(running_model) as server:
        await server.count_anew()
        yield server


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test uses."""
    return f"tenant-{secrets.token_hex(8)}"


@pytest.fixture
async def acme(agent: AgentProcess, tenant: str) -> AsyncIterator[Caller]:
    async with Caller(agent.address, signed(tenant)) as caller:
        yield caller

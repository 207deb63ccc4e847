"""Replicas behind a real Envoy: a turn goes to another replica only where nothing was done for it yet."""

import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack

import pytest

from envoyconf.topology import Topology
from meshkit.errors import Reason
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.agent.agent_process import AgentProcess, Caller, agent_process
from tests.integration.front_door import on_free_ports, running_envoy
from tests.mesh_identity import signed
from tests.refusal import refusal
from tests.simulated_model import ModelProcess, Server

HANGING = pb.ExecuteRequest(task="[[hang]]")
HELLO = pb.ExecuteRequest(task="hello [[tokens=1]]")
ENOUGH = 3


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Topology:
    return on_free_ports(tmp_path_factory.mktemp("front"))


@pytest.fixture(scope="module")
def agents(
    topology: Topology, valkey_url: str, running_model: ModelProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sequence[AgentProcess]]:
    """One replica for each port of the pool, with a single slot and no queue."""
    with ExitStack() as running:
        yield [
            running.enter_context(
                agent_process(
                    tmp_path_factory.mktemp(f"agent-{number}"),
                    redis_url=valkey_url,
                    model_url=running_model.url,
                    SHOAL_REPLICA=f"agent-{number}",
                    SHOAL_PORT=str(port),
                    SHOAL_HTTP1_PORT=str(topology.agent.envoy_port_of(number)),
                    SHOAL_AGENT_SLOTS="1",
                    SHOAL_AGENT_QUEUE="0",
                )
            )
            for number, port in enumerate(topology.agent.ports, start=1)
        ]


@pytest.fixture
async def mesh(topology: Topology, agents: Sequence[AgentProcess]) -> AsyncIterator[Caller]:
    """Calls the agents, which have nothing to do, through the inner listener, as the gateway does."""
    for agent in agents:
        await agent.becomes(running=0)
    async with running_envoy(topology), Caller(f"127.0.0.1:{topology.envoy.inner}", signed("acme")) as caller:
        yield caller


def refusals(agent: AgentProcess) -> float:
    """How many turns it has refused as unavailable."""
    with urllib.request.urlopen(f"http://{agent.metrics_address}/metrics") as response:
        lines: list[str] = response.read().decode().splitlines()
    counts = [line for line in lines if line.startswith('shoal_rpc_seconds_count{code="UNAVAILABLE"')]
    return sum(float(line.rpartition(" ")[2]) for line in counts)


async def test_what_a_full_replica_refuses_another_one_answers(
    mesh: Caller, agents: Sequence[AgentProcess], model: Server
) -> None:
    full = agents[0]
    async with Caller(full.address, signed("acme")) as direct:
        holds = direct.stream(HANGING)
        assert (await anext(aiter(holds))).HasField("started")
        asked = 0
        while refusals(full) < ENOUGH:
            asked += 1
            assert (await mesh.execute(HELLO)).replica != "agent-1"
            assert (await mesh.events(HELLO))[0].started.replica != "agent-1"
        await model.calls_reach(begun=1 + 2 * asked)


async def test_when_all_replicas_are_full_the_caller_is_told_when_to_come_back(
    mesh: Caller, agents: Sequence[AgentProcess]
) -> None:
    async with AsyncExitStack() as held:
        for agent in agents:
            direct = await held.enter_async_context(Caller(agent.address, signed("acme")))
            await anext(aiter(direct.stream(HANGING)))
        error = await refusal(mesh.execute(HELLO))
    assert error.reason is Reason.REPLICA_BUSY
    assert error.retry_after_seconds


async def test_a_turn_that_failed_after_it_began_is_not_made_again(mesh: Caller, model: Server) -> None:
    for number in range(1, 11):
        failing = pb.ExecuteRequest(task=f"hello {number} [[status=503]]")
        turn = mesh.execute(failing) if number % 2 else mesh.stream(failing)
        assert (await refusal(turn)).reason is Reason.MODEL_UNAVAILABLE
        await model.calls_reach(begun=number)

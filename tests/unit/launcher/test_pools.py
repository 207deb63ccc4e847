"""The files that tell Envoy who is in a pool: they follow the processes and who is on the way out."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from envoyconf.load_balancing import LoadBalancing
from envoyconf.topology import Topology
from launcher.console import Console
from launcher.fleet.pools import Pools
from launcher.processes.keeper import Keeper, State
from launcher.processes.plan import Process, StopStage

FIRST_AGENT, FIRST_LIMITER = 8621, 8601


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    balancing = LoadBalancing.parse("weights:3:1")
    return dataclasses.replace(
        Topology.default(agent_replicas=2), files=str(tmp_path / "envoy"), load_balancing=balancing
    )


@pytest.fixture
def pools(topology: Topology) -> Pools:
    pools = Pools(topology)
    pools.prepare()
    return pools


@pytest.fixture
def entered(pools: Pools) -> Callable[[str, int, State], None]:
    """Tells the pools that a process has entered a state."""

    def enter(service: str, number: int, state: State) -> None:
        keeper = keeper_of(service, number)
        keeper.state = state
        pools.changed(keeper)

    return enter


def keeper_of(service: str, number: int) -> Keeper:
    async def never(process: Process) -> Any:
        raise AssertionError(process)

    process = Process(
        name=f"{service}-{number}",
        command=(),
        probes=(),
        ports={},
        stage=StopStage.SERVICES,
        service=service,
        number=number,
    )
    return Keeper(process, start=never, console=Console(), changed=lambda keeper: None)


def resource(topology: Topology, path: str) -> dict[str, Any]:
    [found] = yaml.safe_load((Path(topology.files) / path).read_text())["resources"]
    return dict(found)


def endpoints(topology: Topology, cluster: str) -> list[tuple[int, int, str]]:
    """Port, weight and health of each, in their order."""
    [locality] = resource(topology, f"endpoints/{cluster}/endpoints.yaml")["endpoints"]
    return [
        (
            each["endpoint"]["address"]["socket_address"]["port_value"],
            each["load_balancing_weight"],
            each.get("health_status", ""),
        )
        for each in locality["lb_endpoints"]
    ]


Entered = Callable[[str, int, State], None]


def test_before_anything_is_ready_every_pool_is_empty(topology: Topology, pools: Pools) -> None:
    assert [endpoints(topology, pool.name) for pool in topology.pools()] == [[]] * len(topology.pools())


def test_who_is_ready_is_an_endpoint_and_who_is_gone_is_none(topology: Topology, entered: Entered) -> None:
    entered("agent", 1, State.STARTING)
    assert endpoints(topology, "agent") == []
    entered("agent", 1, State.READY)
    entered("agent", 2, State.READY)
    assert endpoints(topology, "agent") == [(FIRST_AGENT, 3, ""), (FIRST_AGENT + 1, 1, "")]
    entered("agent", 1, State.DOWN)
    assert endpoints(topology, "agent") == [(FIRST_AGENT + 1, 1, "")]


def test_who_drains_is_marked_and_its_successor_has_its_weight(
    topology: Topology, pools: Pools, entered: Entered
) -> None:
    entered("agent", 1, State.READY)
    pools.members["agent"].join(5, rank=1)
    entered("agent", 5, State.READY)
    pools.members["agent"][1].draining = True
    pools.publish("agent")
    assert endpoints(topology, "agent") == [(FIRST_AGENT, 3, "DRAINING"), (FIRST_AGENT + 4, 3, "")]


def test_a_limiter_is_in_both_of_its_pools(topology: Topology, entered: Entered) -> None:
    entered("ratelimit", 1, State.READY)
    assert endpoints(topology, "ratelimit") == [(FIRST_LIMITER, 1, "")]
    assert endpoints(topology, "ratelimit-rls") == [(FIRST_LIMITER, 1, "")]


@pytest.mark.parametrize(("service", "number"), [("model", 1), ("", 1), ("agent", 9)])
def test_who_is_in_no_pool_changes_no_file(topology: Topology, entered: Entered, service: str, number: int) -> None:
    before = {file: file.stat().st_mtime_ns for file in Path(topology.files).rglob("*.yaml")}
    entered(service, number, State.READY)
    assert {file: file.stat().st_mtime_ns for file in Path(topology.files).rglob("*.yaml")} == before


def test_circuit_breakers_grow_with_the_pool_and_do_not_shrink_when_one_is_down(
    topology: Topology, pools: Pools, entered: Entered
) -> None:
    def breaker() -> int:
        layer = resource(topology, "runtime/runtime.yaml")["layer"]
        return int(layer["circuit_breakers.agent.default.max_requests"])

    each = topology.agent.calls_per_replica
    assert breaker() == 2 * each
    pools.members["agent"].join(3)
    entered("agent", 3, State.READY)
    assert breaker() == 3 * each
    entered("agent", 3, State.DOWN)
    assert breaker() == 3 * each
    pools.members["agent"].leave(3)
    pools.publish("agent")
    assert breaker() == 2 * each


def test_files_are_for_their_owner_only_and_no_draft_stays(topology: Topology, pools: Pools) -> None:
    files = [path for path in Path(topology.files).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".yaml"}
    assert not any(path.name.startswith(".") for path in files)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}

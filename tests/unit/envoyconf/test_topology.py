"""The table of ports and pools: its defaults, its variations, and what it refuses."""

from dataclasses import replace

import pytest

from envoyconf.load_balancing import LoadBalancing
from envoyconf.topology import BackingPorts, EnvoyPorts, FailOpen, Pool, Protocol, Topology


def test_the_default_table_is_the_documented_one() -> None:
    ports = dict(Topology.default().named_ports())
    assert ports == {
        "valkey limits": 8151,
        "valkey state": 8152,
        "valkey cache": 8153,
        "model": 8161,
        "ratelimit 1": 8101,
        "ratelimit 1 for Envoy": 8601,
        "ratelimit 1 metrics": 9101,
        "ratelimit 1 for other Envoys": 8102,
        "cache 1": 8111,
        "cache 1 for Envoy": 8611,
        "cache 1 metrics": 9111,
        "agent 1": 8121,
        "agent 2": 8122,
        "agent 3": 8123,
        "agent 1 for Envoy": 8621,
        "agent 2 for Envoy": 8622,
        "agent 3 for Envoy": 8623,
        "agent 1 metrics": 9121,
        "agent 2 metrics": 9122,
        "agent 3 metrics": 9123,
        "gateway 1": 8141,
        "gateway 1 metrics": 9141,
        "envoy front": 8080,
        "envoy inner": 8090,
        "envoy admin": 9901,
    }


def test_the_largest_mesh_has_room_for_every_port() -> None:
    topology = Topology.default(agent_replicas=20, gateways=10, limiters=4, caches=4)
    assert topology.cache.ports == (8111, 8112, 8113, 8114)
    assert topology.agent.ports == tuple(range(8121, 8141))
    assert topology.gateway.ports == tuple(range(8141, 8151))


def test_each_limiter_has_a_second_port_for_the_envoys_of_others() -> None:
    topology = Topology.default(limiters=4, shift=10)
    assert topology.ratelimit.ports == (8111, 8113, 8115, 8117)
    assert tuple(topology.ratelimit_grpc) == (8112, 8114, 8116, 8118)
    assert topology.ratelimit.metrics_ports == (9111, 9113, 9115, 9117)


def test_more_limiters_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(ValueError, match="room for 1 to 4 of ratelimit"):
        Topology.default(limiters=5)


@pytest.mark.parametrize("caches", [0, 5])
def test_more_caches_than_there_is_room_for_are_refused(caches: int) -> None:
    with pytest.raises(ValueError, match="room for 1 to 4 of cache"):
        Topology.default(caches=caches)


def test_a_route_that_is_not_there_cannot_fail_open() -> None:
    with pytest.raises(ValueError, match="no route tasks"):
        FailOpen(routes=frozenset({"task", "tasks"}), identity="signed")


@pytest.mark.parametrize("replicas", [0, 21])
def test_more_replicas_than_there_is_room_for_are_refused(replicas: int) -> None:
    with pytest.raises(ValueError, match="room for 1 to 20 of agent"):
        Topology.default(agent_replicas=replicas)


def test_the_shift_moves_every_port() -> None:
    usual, moved = Topology.default(), Topology.default(shift=20_000)
    assert dict(moved.named_ports()) == {name: port + 20_000 for name, port in usual.named_ports()}
    assert moved.envoy.tls == usual.envoy.tls + 20_000


def test_chosen_ports_of_envoy_are_shifted_too() -> None:
    moved = Topology.default(envoy=EnvoyPorts(front=7000), shift=5)
    assert moved.envoy == EnvoyPorts(front=7005, tls=8448, inner=8095, admin=9906)


def test_two_users_of_one_port_are_named() -> None:
    with pytest.raises(ValueError, match="Port 8121 is given to several: agent 1, envoy front"):
        replace(Topology.default(), envoy=EnvoyPorts(front=8121))


def test_the_tls_port_is_free_for_others_without_tls() -> None:
    topology = replace(Topology.default(), backing=BackingPorts(model=EnvoyPorts().tls))
    assert topology.backing.model == EnvoyPorts().tls


@pytest.mark.parametrize("port", [0, 65536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="not a port"):
        replace(Topology.default(), envoy=EnvoyPorts(front=port))


@pytest.mark.parametrize("replicas", [0, 3])
def test_a_pool_has_at_least_one_process_and_no_more_than_its_row(replicas: int) -> None:
    with pytest.raises(ValueError, match="room for 1 to 2 of agent"):
        Pool(name="agent", protocol=Protocol.GRPC, row=(1, 2), replicas=replicas)


def test_a_pool_knows_the_ports_of_processes_that_are_not_there_yet() -> None:
    topology = Topology.default(shift=10)
    assert topology.agent.most == 20
    assert (topology.agent.port_of(1), topology.agent.port_of(20)) == (8131, 8150)
    assert topology.agent.metrics_port_of(20) == 9150
    assert topology.ratelimit.port_of(4) == 8117
    assert topology.ratelimit_rls.metrics_ports == ()


def test_envoy_asks_whoever_speaks_grpc_on_a_port_of_its_own() -> None:
    topology = Topology.default(shift=10)
    assert [topology.agent.envoy_port_of(20), topology.cache.envoy_port_of(1)] == [8650, 8621]
    assert [pool.envoy_port_of(4) for pool in (topology.ratelimit, topology.ratelimit_rls)] == [8617, 8617]
    assert topology.gateway.envoy_port_of(1) == topology.gateway.port_of(1)


def test_an_agent_is_given_the_turns_that_it_can_hold_and_some_short_calls() -> None:
    assert Topology.default(agent_turns=10).agent.calls_per_replica == 42


def test_weights_are_for_agents_and_further_ones_weigh_one() -> None:
    topology = replace(Topology.default(), load_balancing=LoadBalancing.parse("weights:3:2"))
    assert [topology.weight_of(topology.agent, number) for number in (1, 2, 3)] == [3, 2, 1]
    assert topology.weight_of(topology.gateway, 1) == 1


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:4318", "https://host:4318", "http://host", "http://host:4318/v1/traces"]
)
def test_an_otlp_endpoint_in_another_form_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="must read http://host:port"):
        replace(Topology.default(), otlp_endpoint=endpoint)


def test_fewer_than_no_proxies_are_refused() -> None:
    with pytest.raises(ValueError, match="trusted_hops"):
        replace(Topology.default(), trusted_hops=-1)

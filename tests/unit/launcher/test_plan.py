"""The plan of the mesh: what starts, after what, on which ports, and what it is told."""

from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

from launcher.home import Home
from launcher.planner import Planner
from launcher.processes.plan import Binaries, Plan, Process, StopStage
from launcher.processes.readiness import HttpOk
from launcher.settings import UpSettings

HOME = Home(Path("/home-of-the-mesh"))
BINARIES = Binaries(shoal=Path("/bin/shoal"), envoy=Path("/bin/envoy"), valkey=Path("/bin/valkey-server"))


def plan_of(**settings: Any) -> Plan:
    return Planner(UpSettings(home=str(HOME.folder), **settings), home=HOME, binaries=BINARIES).plan()


def by_name(plan: Plan) -> dict[str, Process]:
    return {process.name: process for process in plan.processes}


def needs(plan: Plan) -> dict[str, set[str]]:
    of_steps = {step.name: set(step.needs) for step in plan.steps}
    return of_steps | {process.name: set(process.needs) for process in plan.processes}


def everything_before(name: str, plan: Plan) -> set[str]:
    direct = needs(plan)[name]
    return direct.union(*(everything_before(other, plan) for other in direct))


def test_the_default_mesh_has_these_processes() -> None:
    assert list(by_name(plan_of())) == [
        "valkey-limits", "valkey-state", "valkey-cache", "model", "ratelimit-1", "cache-1",
        "agent-1", "agent-2", "agent-3", "gateway-1", "envoy",
    ]  # fmt: skip


def test_names_are_used_once_and_needs_exist_without_a_circle() -> None:
    plan = plan_of()
    assert len(set(plan.names())) == len(plan.names())
    assert set(TopologicalSorter(needs(plan)).static_order()) == set(plan.names())


def test_the_door_waits_for_the_first_agent_and_gateway_only_and_not_for_the_demo_key() -> None:
    plan = plan_of(gateway_replicas=2)
    assert everything_before("envoy", plan) == set(plan.names()) - {
        "envoy", "demo-key", "agent-2", "agent-3", "gateway-2"
    }  # fmt: skip


@pytest.mark.parametrize("other", ["agent-2", "agent-3", "gateway-2"])
def test_those_that_are_not_the_first_start_when_the_door_is_open(other: str) -> None:
    assert needs(plan_of(gateway_replicas=2))[other] == {"envoy"}


@pytest.mark.parametrize("owner", ["ratelimit-1", "cache-1"])
def test_who_reads_tables_at_its_start_starts_after_the_migration(owner: str) -> None:
    assert "migrate" in everything_before(owner, plan_of())


@pytest.mark.parametrize("other", ["agent-1", "gateway-1"])
def test_who_needs_nothing_before_the_first_call_starts_at_once(other: str) -> None:
    assert everything_before(other, plan_of()) == set()


def test_every_process_has_a_probe_of_one_of_its_own_ports() -> None:
    for process in plan_of().processes:
        assert process.probes
        assert {probe.port for probe in process.probes} <= set(process.ports.values()), process.name  # type: ignore[attr-defined] # all of ours have a port


def test_no_port_has_two_users() -> None:
    ports = [port for process in plan_of().processes for port in process.ports.values()]
    assert len(ports) == len(set(ports))


def test_the_shift_moves_every_port_the_chosen_ones_too() -> None:
    plain, shifted = plan_of(front_port=7000), plan_of(front_port=7000, port_shift=500)
    for before, after in zip(plain.processes, shifted.processes, strict=True):
        assert {name: port + 500 for name, port in before.ports.items()} == after.ports
    assert by_name(shifted)["envoy"].ports["front_port"] == 7500


def test_each_replica_is_told_its_name_its_ports_and_where_the_others_are() -> None:
    assert by_name(plan_of(port_shift=10))["agent-2"].environment == {
        "SHOAL_REPLICA": "agent-2",
        "SHOAL_PORT": "8132",
        "SHOAL_HTTP1_PORT": "8632",
        "SHOAL_METRICS_PORT": "9132",
        "SHOAL_HOME": str(HOME.folder),
        "SHOAL_MESH_SECRET_FILE": str(HOME.secret_file),
        "SHOAL_MESH_ADDRESS": "127.0.0.1:8100",
        "SHOAL_LIMITS_REDIS_URL": "redis://127.0.0.1:8161/0",
        "SHOAL_STATE_REDIS_URL": "redis://127.0.0.1:8162/0",
        "SHOAL_CACHE_REDIS_URL": "redis://127.0.0.1:8163/0",
        "SHOAL_MODEL_BASE_URL": "http://127.0.0.1:8171/v1",
    }


def test_each_limiter_is_told_its_ports_for_envoys_and_how_many_they_are() -> None:
    processes = by_name(plan_of(ratelimit_replicas=3))
    limiters = [processes[f"ratelimit-{number}"].environment for number in (1, 2, 3)]
    assert [limiter["SHOAL_ENVOY_PORT"] for limiter in limiters] == ["8102", "8104", "8106"]
    assert [limiter["SHOAL_PORT"] for limiter in limiters] == ["8101", "8103", "8105"]
    assert {limiter["SHOAL_LIMITERS"] for limiter in limiters} == {"3"}
    assert processes["ratelimit-3"].ports["envoy_port"] == 8106
    assert [limiter["SHOAL_HTTP1_PORT"] for limiter in limiters] == ["8601", "8603", "8605"]
    assert processes["ratelimit-3"].ports["http1_port"] == 8605


def test_envoy_waits_for_every_limiter() -> None:
    assert {"ratelimit-1", "ratelimit-2"} <= needs(plan_of(ratelimit_replicas=2))["envoy"]


def test_the_demo_key_is_asked_of_the_limiter_itself_since_envoy_starts_later() -> None:
    plan = plan_of()
    [step] = [step for step in plan.steps if step.name == "demo-key"]
    assert step.environment["SHOAL_MESH_ADDRESS"] == f"127.0.0.1:{by_name(plan)['ratelimit-1'].ports['port']}"
    assert "ratelimit-1" in step.needs


def test_a_remote_model_is_not_started_and_not_waited_for() -> None:
    plan = plan_of(model_base_url="http://gpu:8000/v1")
    assert "model" not in by_name(plan)
    assert "model" not in everything_before("envoy", plan)
    assert by_name(plan)["agent-1"].environment["SHOAL_MODEL_BASE_URL"] == "http://gpu:8000/v1"


@pytest.mark.parametrize("role", ["limits", "state", "cache"])
def test_a_remote_redis_takes_the_place_of_its_valkey_only(role: str) -> None:
    url = f"redis://{role}:6379/0"
    plan = plan_of(**{f"{role}_redis_url": url})
    gone = set(by_name(plan_of())) - set(by_name(plan))
    assert gone == {f"valkey-{role}"}
    assert by_name(plan)["cache-1"].environment[f"SHOAL_{role.upper()}_REDIS_URL"] == url


@pytest.mark.parametrize(
    ("role", "policy"), [("limits", "noeviction"), ("state", "noeviction"), ("cache", "allkeys-lfu")]
)
def test_only_the_cache_may_forget(role: str, policy: str) -> None:
    command = by_name(plan_of())[f"valkey-{role}"].command
    assert command[command.index("--maxmemory-policy") + 1] == policy


def test_with_tls_the_front_door_is_probed_on_the_tls_port() -> None:
    envoy = by_name(plan_of(tls_cert_file="cert.pem", tls_key_file="key.pem"))["envoy"]
    assert HttpOk(8443, "/health/ready", tls=True) in envoy.probes
    assert envoy.ports["tls_port"] == 8443


def test_a_given_secret_file_is_passed_on() -> None:
    environment = by_name(plan_of(mesh_secret_file="/run/secret"))["cache-1"].environment
    assert environment["SHOAL_MESH_SECRET_FILE"] == "/run/secret"


def test_the_door_closes_first_and_the_stores_last_within_ten_seconds() -> None:
    stages = {process.name: process.stage for process in plan_of().processes}
    assert stages["envoy"] is StopStage.DOOR
    assert {stages[name] for name in ("gateway-1", "agent-1", "cache-1", "ratelimit-1")} == {StopStage.SERVICES}
    assert {stages[name] for name in ("model", "valkey-state")} == {StopStage.BACKING}
    assert list(StopStage) == [StopStage.DOOR, StopStage.SERVICES, StopStage.BACKING]
    assert sum(stage.patience_seconds for stage in StopStage) < 10


def test_replicas_are_as_many_as_asked_for() -> None:
    names = by_name(plan_of(agent_replicas=5, gateway_replicas=2, cache_replicas=4))
    assert {"agent-5", "gateway-2", "cache-4"} <= set(names)
    assert not {"agent-6", "gateway-3", "cache-5"} & set(names)


def test_envoy_waits_for_every_cache() -> None:
    plan = plan_of(cache_replicas=2)
    assert {"cache-1", "cache-2"} <= needs(plan)["envoy"]
    assert by_name(plan)["cache-2"].ports == {"port": 8112, "metrics_port": 9112, "http1_port": 8612}

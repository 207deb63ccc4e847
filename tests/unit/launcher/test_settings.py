"""The settings of the launcher: each fault is a sentence that names its variable."""

import pytest

from envoyconf.topology import FailOpen
from launcher.settings import OperatorSettings, UpSettings, WarmSettings
from meshkit.settings import SettingsError, load


def faults(**variables: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(UpSettings, variables)
    return "\n".join(caught.value.faults)


def test_a_certificate_without_its_key_is_a_fault() -> None:
    assert "SHOAL_TLS_KEY_FILE must be set too" in faults(SHOAL_TLS_CERT_FILE="cert.pem")


def test_tls_files_that_cannot_be_read_are_both_named() -> None:
    text = faults(SHOAL_TLS_CERT_FILE="no-such-cert.pem", SHOAL_TLS_KEY_FILE="no-such-key.pem")
    assert "SHOAL_TLS_CERT_FILE" in text
    assert "SHOAL_TLS_KEY_FILE" in text


def test_a_shift_that_leaves_the_range_of_ports_is_a_fault() -> None:
    assert "SHOAL_PORT_SHIFT" in faults(SHOAL_PORT_SHIFT="60000")


def test_two_users_of_one_port_are_a_fault() -> None:
    assert "8090" in faults(SHOAL_FRONT_PORT="8090")


def test_the_number_of_trusted_proxies_reaches_the_topology() -> None:
    assert load(UpSettings, {"SHOAL_TRUSTED_HOPS": "2"}).topology().trusted_hops == 2
    assert "SHOAL_TRUSTED_HOPS" in faults(SHOAL_TRUSTED_HOPS="-1")


def test_a_collector_that_is_no_address_is_a_fault() -> None:
    assert "OTLP" in faults(SHOAL_OTLP_ENDPOINT="collector")


def test_a_home_that_cannot_be_made_is_a_fault() -> None:
    assert "SHOAL_HOME" in faults(SHOAL_HOME="/dev/null/shoal")


def test_the_operators_commands_find_the_mesh_that_was_moved() -> None:
    settings = OperatorSettings(home="there", inner_port=7000, port_shift=5)
    assert settings.address() == "127.0.0.1:7005"
    assert str(settings.secret_file()) == "there/mesh-secret"


def test_the_operators_commands_go_where_they_are_sent() -> None:
    settings = OperatorSettings(mesh_address="mesh:1", mesh_secret_file="/run/secret", port_shift=5)
    assert settings.address() == "mesh:1"
    assert str(settings.secret_file()) == "/run/secret"


def test_the_operators_commands_say_that_the_secret_is_missing() -> None:
    with pytest.raises(SettingsError, match="SHOAL_MESH_SECRET_FILE"):
        load(OperatorSettings, {"SHOAL_HOME": "/no-such-home"})


def test_routes_that_fail_open_are_read_with_spaces_or_without() -> None:
    fail_open = load(UpSettings, {"SHOAL_FAIL_OPEN_ROUTES": "task, models,"}).fail_open("signed")
    assert fail_open == FailOpen(routes=frozenset({"task", "models"}), identity="signed")


def test_by_default_no_route_fails_open() -> None:
    assert UpSettings().fail_open("signed") is None


def test_a_route_that_is_not_there_is_a_fault_that_lists_the_others() -> None:
    text = faults(SHOAL_FAIL_OPEN_ROUTES="task,tasks")
    assert "SHOAL_FAIL_OPEN_ROUTES: There is no route tasks" in text
    assert "preferences" in text


def test_the_number_of_limiters_has_bounds() -> None:
    assert len(load(UpSettings, {"SHOAL_RATELIMIT_REPLICAS": "4"}).topology().ratelimit_rls.ports) == 4
    assert "SHOAL_RATELIMIT_REPLICAS" in faults(SHOAL_RATELIMIT_REPLICAS="5")


def test_the_number_of_caches_has_bounds() -> None:
    assert load(UpSettings, {"SHOAL_CACHE_REPLICAS": "4"}).topology().cache.ports == (8111, 8112, 8113, 8114)
    assert "SHOAL_CACHE_REPLICAS" in faults(SHOAL_CACHE_REPLICAS="5")


def test_warming_finds_the_front_door_that_was_moved_with_tls_or_without() -> None:
    moved = {"SHOAL_FRONT_PORT": "7000", "SHOAL_PORT_SHIFT": "5"}
    assert load(WarmSettings, moved).url() == "http://127.0.0.1:7005"
    assert load(WarmSettings, moved | {"SHOAL_TLS_CERT_FILE": __file__}).url() == "https://localhost:8448"
    with pytest.raises(SettingsError, match="SHOAL_TLS_CERT_FILE"):
        load(WarmSettings, {"SHOAL_TLS_CERT_FILE": "no-such-cert.pem"})


def test_a_way_to_spread_calls_that_is_not_there_is_a_fault_that_lists_the_others() -> None:
    text = faults(SHOAL_LOAD_BALANCING="random")
    assert "SHOAL_LOAD_BALANCING: 'random' is no way" in text
    assert "weights:3:1:1" in text


def test_what_a_replica_holds_reaches_envoy() -> None:
    topology = load(UpSettings, {"SHOAL_AGENT_SLOTS": "10", "SHOAL_AGENT_QUEUE": "5"}).topology()
    assert topology.agent.calls_per_replica == 47


def test_envoy_waits_longer_than_a_model_may_be_silent() -> None:
    assert UpSettings().topology().idle_seconds == 150
    assert load(UpSettings, {"SHOAL_MODEL_TIMEOUT_SECONDS": "600"}).topology().idle_seconds == 630
    assert load(UpSettings, {"SHOAL_MODEL_TIMEOUT_SECONDS": "5"}).topology().idle_seconds == 120


@pytest.mark.parametrize(
    ("variable", "refused", "taken"),
    [
        ("SHOAL_FLOOD_PER_SECOND", "4294967296", "4294967295"),
        ("SHOAL_FLOOD_BURST", "4294967296", "4294967295"),
        ("SHOAL_TRUSTED_HOPS", "101", "100"),
        ("SHOAL_ENVOY_MAX_HEAP_BYTES", "1125899906842625", "1125899906842624"),
        ("SHOAL_MODEL_TIMEOUT_SECONDS", "86401", "86400"),
        ("SHOAL_SLOW_CLIENT_SECONDS", "0.09", "0.1"),
        ("SHOAL_STREAM_MAX_SECONDS", "0.09", "0.1"),
        ("SHOAL_DRAIN_SECONDS", "86401", "86400"),
    ],
)
def test_what_envoy_would_refuse_is_a_fault_before(variable: str, refused: str, taken: str) -> None:
    assert variable in faults(**{variable: refused})
    load(UpSettings, {variable: taken})

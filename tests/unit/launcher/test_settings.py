"""The settings of the launcher: each fault is a sentence that names its variable."""

import pytest

from launcher.settings import KeysSettings, UpSettings
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


def test_the_keys_commands_find_the_mesh_that_was_moved() -> None:
    settings = KeysSettings(home="there", inner_port=7000, port_shift=5)
    assert settings.address() == "127.0.0.1:7005"
    assert str(settings.secret_file()) == "there/mesh-secret"


def test_the_keys_commands_go_where_they_are_sent() -> None:
    settings = KeysSettings(mesh_address="mesh:1", mesh_secret_file="/run/secret", port_shift=5)
    assert settings.address() == "mesh:1"
    assert str(settings.secret_file()) == "/run/secret"


def test_the_keys_commands_say_that_the_secret_is_missing() -> None:
    with pytest.raises(SettingsError, match="SHOAL_MESH_SECRET_FILE"):
        load(KeysSettings, {"SHOAL_HOME": "/no-such-home"})

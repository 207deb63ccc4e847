"""`shoal certs`: what it makes, what it keeps, and that what it makes can be used."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result

from launcher.settings import UpSettings
from meshkit import certificates as checks
from meshkit.settings import load
from tests import certificates
from tests.integration.launcher.test_cli import shoal

NAMES = ("ca", "front", "mesh")


def certs(folder: Path, *arguments: str) -> Result:
    result = shoal("certs", "--folder", str(folder), *arguments)
    assert result.exit_code == 0, result.output
    return result


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def changed(folder: Path, before: dict[str, bytes]) -> set[str]:
    return {name for name, content in contents(folder).items() if before.get(name) != content}


def exported(result: Result) -> dict[str, str]:
    lines = (line.removeprefix("export ") for line in result.stdout.splitlines())
    return dict(line.split("=", 1) for line in lines)


def test_what_is_to_be_exported_are_good_settings(tmp_path: Path) -> None:
    variables = exported(certs(tmp_path / "made"))
    assert set(variables) == {
        "SHOAL_TLS_CERT_FILE", "SHOAL_TLS_KEY_FILE",
        "SHOAL_MESH_CERT_FILE", "SHOAL_MESH_KEY_FILE", "SHOAL_MESH_CA_FILE",
    }  # fmt: skip
    settings = load(UpSettings, variables)
    assert settings.mesh_tls() is not None
    server = checks.server_context(settings.tls_cert_file, settings.tls_key_file)
    for name in ("localhost", "127.0.0.1", "::1"):
        checks.shake_hands(server, checks.client_context(settings.mesh_ca_file), name=name)


def test_without_a_folder_they_lie_in_the_home_and_the_port_is_that_of_the_mesh(tmp_path: Path) -> None:
    result = shoal("certs", SHOAL_HOME=str(tmp_path), SHOAL_PORT_SHIFT="7")
    assert f"curl --cacert {tmp_path / 'certs' / 'ca.pem'} https://localhost:8450/health" in result.stderr
    assert (tmp_path / "certs" / "front.pem").exists()


def test_only_the_owner_can_read_the_keys(tmp_path: Path) -> None:
    certs(tmp_path / "made")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "made").iterdir()}
    assert {modes[f"{name}-key.pem"] for name in NAMES} == {0o600}
    assert {modes[f"{name}.pem"] for name in NAMES} == {0o644}
    assert len(modes) == 6


def test_run_again_it_keeps_everything(tmp_path: Path) -> None:
    certs(tmp_path)
    before = contents(tmp_path)
    assert certs(tmp_path).stderr.count(" kept, ") == 3
    assert contents(tmp_path) == before


def test_to_renew_is_to_keep_the_authority_alone(tmp_path: Path) -> None:
    certs(tmp_path)
    before = contents(tmp_path)
    certs(tmp_path, "--renew")
    assert changed(tmp_path, before) == {"front.pem", "front-key.pem", "mesh.pem", "mesh-key.pem"}
    assert load(UpSettings, exported(certs(tmp_path))).mesh_tls() is not None


def test_a_further_name_is_added_and_stays(tmp_path: Path) -> None:
    certs(tmp_path)
    before = contents(tmp_path)
    certs(tmp_path, "--name", "shoal.example.test")
    assert changed(tmp_path, before) == {"front.pem", "front-key.pem"}
    certs(tmp_path, "--renew")
    server = checks.server_context(str(tmp_path / "front.pem"), str(tmp_path / "front-key.pem"))
    for name in ("shoal.example.test", "localhost"):
        checks.shake_hands(server, checks.client_context(str(tmp_path / "ca.pem")), name=name)


def test_what_has_expired_is_made_anew(tmp_path: Path) -> None:
    certificates.expired(tmp_path)
    before = contents(tmp_path)
    result = certs(tmp_path)
    assert changed(tmp_path, before) == {"front.pem", "front-key.pem", "mesh.pem", "mesh-key.pem"}
    assert result.stderr.count(" made, ") == 2


def test_an_authority_that_has_expired_is_replaced_with_all_that_it_signed(tmp_path: Path) -> None:
    certificates.made(tmp_path, now=datetime.now(UTC) - timedelta(days=366))
    before = contents(tmp_path)
    certs(tmp_path)
    assert changed(tmp_path, before) == set(before)


def test_half_an_authority_is_not_replaced_unasked(tmp_path: Path) -> None:
    certs(tmp_path)
    (tmp_path / "ca-key.pem").unlink()
    before = contents(tmp_path)
    result = shoal("certs", "--folder", str(tmp_path), "--renew")
    assert result.exit_code == 1
    assert "ca-key.pem do not make a pair" in result.stderr
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = shoal("certs", "--folder", str(tmp_path / "file" / "below"))
    assert result.exit_code == 1
    assert "name another by --folder" in result.stderr


@pytest.mark.parametrize("arguments", [("--name", "a b"), ("--days", "0"), ("--days", "366")])
def test_bad_options_make_nothing(arguments: tuple[str, str], tmp_path: Path) -> None:
    result = shoal("certs", "--folder", str(tmp_path), *arguments)
    assert result.exit_code == 2
    assert (
        f"Invalid value for '{arguments[0]}'" in result.stderr or f"Invalid value for {arguments[0]}" in result.stderr
    )

"""What is wrong with certificates in files, and that settings say it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from launcher.certs.folder import CertsFolder
from meshkit import certificates as checks
from meshkit.settings import MeshTlsSettings, SettingsError, load
from tests import certificates


def variables(place: CertsFolder, name: str = "mesh", *, ca: CertsFolder | None = None) -> dict[str, str]:
    return {
        "SHOAL_MESH_CERT_FILE": str(place.cert_file(name)),
        "SHOAL_MESH_KEY_FILE": str(place.key_file(name)),
        "SHOAL_MESH_CA_FILE": str((ca or place).cert_file("ca")),
    }


def fault(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as raised:
        load(MeshTlsSettings, environ)
    (only,) = raised.value.faults
    return only


def test_without_the_settings_there_is_no_tls() -> None:
    assert load(MeshTlsSettings, {}).mesh_tls() is None


def test_good_files_are_good_settings(tmp_path: Path) -> None:
    place = certificates.made(tmp_path)
    assert load(MeshTlsSettings, variables(place)).mesh_tls() == certificates.shown(place, "mesh")


@pytest.mark.parametrize("missing", ["SHOAL_MESH_CERT_FILE", "SHOAL_MESH_KEY_FILE", "SHOAL_MESH_CA_FILE"])
def test_all_three_are_set_or_none(missing: str, tmp_path: Path) -> None:
    assert fault(variables(certificates.made(tmp_path)) | {missing: ""}).startswith(f"{missing} must be set too")


@pytest.mark.parametrize("variable", ["SHOAL_MESH_CERT_FILE", "SHOAL_MESH_KEY_FILE", "SHOAL_MESH_CA_FILE"])
def test_a_file_that_cannot_be_read_is_named(variable: str, tmp_path: Path) -> None:
    environ = variables(certificates.made(tmp_path)) | {variable: str(tmp_path / "none.pem")}
    assert fault(environ) == f"{variable}: cannot read the file '{tmp_path}/none.pem'"


def test_a_key_of_another_certificate_is_told(tmp_path: Path) -> None:
    place = certificates.made(tmp_path)
    environ = variables(place) | {"SHOAL_MESH_KEY_FILE": str(place.key_file("front"))}
    assert fault(environ).startswith("SHOAL_MESH_KEY_FILE: the key is not that of the certificate")


def test_an_encrypted_key_is_told_and_no_password_asked_for(tmp_path: Path) -> None:
    place = certificates.made(tmp_path)
    plain = serialization.load_pem_private_key(place.key_file("mesh").read_bytes(), password=None)
    form, locked = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"a password")
    place.key_file("mesh").write_bytes(plain.private_bytes(serialization.Encoding.PEM, form, locked))
    assert "or is encrypted" in fault(variables(place))


def test_an_authority_that_is_no_certificate_is_told(tmp_path: Path) -> None:
    place = certificates.made(tmp_path)
    environ = variables(place) | {"SHOAL_MESH_CA_FILE": __file__}
    assert fault(environ) == "SHOAL_MESH_CA_FILE: holds no certificate in PEM"


def test_a_certificate_that_the_authority_did_not_sign_is_told(tmp_path: Path) -> None:
    ours, theirs = certificates.made(tmp_path / "ours"), certificates.made(tmp_path / "theirs")
    said = fault(variables(ours, ca=theirs))
    assert said.startswith("SHOAL_MESH_CERT_FILE: does not do with the authority in SHOAL_MESH_CA_FILE")
    assert said.endswith("unable to get local issuer certificate")


def test_a_certificate_for_another_name_is_told(tmp_path: Path) -> None:
    assert "not valid for 'shoal-mesh'" in fault(variables(certificates.made(tmp_path), "front"))


def test_an_expired_certificate_is_told(tmp_path: Path) -> None:
    assert fault(variables(certificates.expired(tmp_path))).endswith("certificate has expired")


def test_a_pair_is_checked_without_knowing_who_signed_it(tmp_path: Path) -> None:
    cert_file, key_file = certificates.localhost(tmp_path)
    checks.check_pair(str(cert_file), str(key_file))


@pytest.mark.parametrize(
    ("made", "words"),
    [(timedelta(days=-2), "certificate has expired"), (timedelta(days=2), "certificate is not yet valid")],
)
def test_a_pair_out_of_its_time_is_told(made: timedelta, words: str, tmp_path: Path) -> None:
    place = certificates.made(tmp_path, now=datetime.now(UTC) + made)
    with pytest.raises(ValueError, match=words):
        checks.check_pair(str(place.cert_file("front")), str(place.key_file("front")))

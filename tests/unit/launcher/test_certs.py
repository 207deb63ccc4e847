"""The local authority and what it signs."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from launcher.certs import authority as certs
from launcher.certs.authority import FRONT, LOCAL_NAMES, MESH, Issued

NOW = datetime(2026, 11, 22, 6, tzinfo=UTC)
DAY = timedelta(days=1)
AUTHORITY = certs.new_authority(NOW)


def front(*names: str, days: int = 90, by: Issued = AUTHORITY, now: datetime = NOW) -> Issued:
    return certs.issue(FRONT, [*LOCAL_NAMES, *names], by=by, now=now, days=days)


def test_a_certificate_is_for_its_names_and_its_days() -> None:
    issued = front("shoal.example.test", "*.example.test", "10.0.0.7", days=30)
    assert issued.names() == [*LOCAL_NAMES, "shoal.example.test", "*.example.test", "10.0.0.7"]
    assert issued.ends == NOW + 30 * DAY


def test_clocks_that_are_a_little_behind_take_it_too() -> None:
    assert front().certificate.not_valid_before_utc < NOW - timedelta(minutes=1)


def test_no_certificate_outlives_its_authority() -> None:
    assert AUTHORITY.ends == NOW + 365 * DAY
    assert front(days=90, now=NOW + 364 * DAY).ends == AUTHORITY.ends


def test_only_the_mesh_may_show_its_certificate_as_a_client() -> None:
    client = ExtendedKeyUsageOID.CLIENT_AUTH
    mesh = certs.issue(MESH, ["shoal-mesh"], by=AUTHORITY, now=NOW, days=1)
    assert client in mesh.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert client not in front().certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value


def test_what_was_written_is_read_again() -> None:
    issued = front()
    read = Issued.read(issued.cert_pem(), issued.key_pem())
    assert read.certificate == issued.certificate
    assert read.key_pem() == issued.key_pem()


@pytest.mark.parametrize(
    ("cert_pem", "key_pem"),
    [(front().cert_pem(), front().key_pem()), (b"", front().key_pem()), (front().cert_pem(), b"rubbish")],
    ids=["a key of another", "no certificate", "no key"],
)
def test_what_is_no_pair_is_refused(cert_pem: bytes, key_pem: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are those of the library
        Issued.read(cert_pem, key_pem)


@pytest.mark.parametrize(("days_later", "good"), [(0, True), (59, True), (61, False), (91, False)])
def test_a_certificate_is_good_until_a_third_of_its_time_is_left(days_later: int, good: bool) -> None:
    assert certs.is_good(front(), LOCAL_NAMES, by=AUTHORITY, now=NOW + days_later * DAY) is good


def test_a_certificate_of_another_authority_is_not_good() -> None:
    assert not certs.is_good(front(by=certs.new_authority(NOW)), LOCAL_NAMES, by=AUTHORITY, now=NOW)


def test_a_certificate_is_good_for_fewer_names_and_not_for_more() -> None:
    issued = front("shoal.example.test")
    assert certs.is_good(issued, ["localhost"], by=AUTHORITY, now=NOW)
    assert certs.is_good(issued, ["Shoal.Example.Test", "0:0:0:0:0:0:0:1"], by=AUTHORITY, now=NOW)
    assert not certs.is_good(issued, ["other.example.test"], by=AUTHORITY, now=NOW)


@pytest.mark.parametrize("name", ["", "a b", "http://localhost", "localhost:8443", "münchen.example", "a..b", "*"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="neither a host name in ASCII nor an address"):
        front(name)

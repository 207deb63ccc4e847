"""Certificates for trying TLS: an authority of one's own, and what it signs."""

import ipaddress
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 365
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

_CLOCK_SKEW = timedelta(minutes=5)
"""Clocks of others may be behind by that much."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def read(cls, cert_pem: bytes, key_pem: bytes) -> "Issued":
        """Raises ValueError if they are not such a pair as is made here."""
        certificate = x509.load_pem_x509_certificate(cert_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
            raise ValueError("the key is not that of the certificate")
        return cls(certificate, key)

    def cert_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        form, nothing = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, form, nothing)

    @property
    def ends(self) -> datetime:
        return self.certificate.not_valid_after_utc

    def names(self) -> list[str]:
        """Host names and addresses that it is for."""
        found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [str(name.value) for name in found]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A kind of certificate that the authority signs."""

    file: str
    """What its files are called: <file>.pem and <file>-key.pem."""
    usages: Sequence[x509.ObjectIdentifier]


FRONT = Leaf("front", [ExtendedKeyUsageOID.SERVER_AUTH])
"""For the front door alone: as a caller inside the mesh it would be refused."""
MESH = Leaf("mesh", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


def new_authority(now: datetime) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    # Names of their own keep clients from taking a new authority for the one before.
    name = _name(f"Shoal local authority {secrets.token_hex(4)}")
    builder = _builder(name, name, key, now=now, ends=now + timedelta(days=AUTHORITY_DAYS))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    return Issued(builder.sign(key, hashes.SHA256()), key)


def issue(leaf: Leaf, names: Iterable[str], *, by: Issued, now: datetime, days: int) -> Issued:
    """A certificate for those names, which never outlives the authority. Raises ValueError if one is no name."""
    key, issuer = ec.generate_private_key(ec.SECP256R1()), by.certificate
    ends = min(now + timedelta(days=days), by.ends)
    builder = _builder(_name(f"shoal {leaf.file}"), issuer.subject, key, now=now, ends=ends)
    authority_key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_key), critical=False
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(leaf.usages), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(list(map(general_name, names))), critical=False)
    return Issued(builder.sign(by.key, hashes.SHA256()), key)


def is_good(issued: Issued, names: Iterable[str], *, by: Issued, now: datetime) -> bool:
    """Whether the authority signed it, it has every name, and more than a third of its time is left."""
    try:
        issued.certificate.verify_directly_issued_by(by.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    lifetime = issued.ends - issued.certificate.not_valid_before_utc
    return issued.ends - now > lifetime / 3 and spelled(names) <= set(issued.names())


def spelled(names: Iterable[str]) -> set[str]:
    """The names as `Issued.names` tells them. Raises ValueError if one is no name."""
    return {str(general_name(name).value) for name in names}


def general_name(name: str) -> x509.GeneralName:
    """An address or a host name, as it is written in certificates. Raises ValueError if it is neither."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    labels = name.removeprefix("*.").split(".")
    if not all(label.isascii() and label.replace("-", "").isalnum() for label in labels):
        raise ValueError(f"{name!r} is neither a host name in ASCII nor an address")
    return x509.DNSName(name.lower())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )

"""Mutual TLS inside the mesh: the certificate by which Envoy and the services know each other."""

import ssl
from dataclasses import dataclass

from meshkit import certificates

NAME = "shoal-mesh"
"""What every process of the mesh is called in its certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshTls:
    """PEM files. Whoever has a certificate of this authority may connect, so it should sign for the mesh alone."""

    cert_file: str
    key_file: str
    ca_file: str

    def check_key(self) -> None:
        """Raises ValueError if the key is not that of the certificate."""
        certificates.server_context(self.cert_file, self.key_file)

    def check_authority(self) -> None:
        """Raises ValueError if the authority's file holds no certificate."""
        certificates.client_context(self.ca_file)

    def check_certificate(self) -> None:
        """Raises ValueError if the certificate does not do for both sides of a connection inside the mesh."""
        try:
            certificates.shake_hands(self.server_context(), self.client_context(), name=NAME)
        except ssl.SSLError as error:
            raise ValueError(
                f"does not do with the authority in SHOAL_MESH_CA_FILE, as server and client named {NAME}: "
                f"{certificates.said(error)}"
            ) from None

    def server_context(self) -> ssl.SSLContext:
        """For a server that speaks HTTP/1.1 and demands a certificate of its callers. Raises ValueError."""
        context = certificates.server_context(self.cert_file, self.key_file)
        context.load_verify_locations(self.ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols(["http/1.1"])
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a client that shows its certificate. Raises ValueError."""
        return certificates.showing(certificates.client_context(self.ca_file), self.cert_file, self.key_file)

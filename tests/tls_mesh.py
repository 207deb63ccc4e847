"""A real mesh that speaks TLS everywhere, with what `shoal certs` made."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.certs.folder import CertsFolder
from meshkit.certificates import client_context
from tests import certificates
from tests.mesh import Mesh, running_mesh
from tests.simulated_model import model_process

TIMEOUT_SECONDS = 30


@contextmanager
def running_tls_mesh(place: CertsFolder) -> Iterator[Mesh]:
    """Two agents and a simulated model. Whoever renews the front door's certificate there, renews it in the mesh."""
    tls = certificates.shown(place, "mesh")
    with (
        model_process() as model,
        running_mesh(
            SHOAL_MODEL_BASE_URL=f"{model.url}/v1",
            SHOAL_AGENT_REPLICAS="2",
            SHOAL_TLS_CERT_FILE=str(place.cert_file("front")),
            SHOAL_TLS_KEY_FILE=str(place.key_file("front")),
            SHOAL_MESH_CERT_FILE=tls.cert_file,
            SHOAL_MESH_KEY_FILE=tls.key_file,
            SHOAL_MESH_CA_FILE=tls.ca_file,
        ) as mesh,
    ):
        yield mesh


def certificate_shown(mesh: Mesh, ca_file: Path) -> bytes | None:
    """The one that a new connection is shown. Raises ssl.SSLError if the authority has not signed it."""
    address = ("127.0.0.1", mesh.tls_port)
    trust = client_context(str(ca_file))
    with (
        socket.create_connection(address, timeout=TIMEOUT_SECONDS) as plain,
        trust.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        return connection.getpeercert(binary_form=True)

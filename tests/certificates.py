"""Certificates for tests of TLS, made as `shoal certs` makes them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from launcher.certs.folder import CertsFolder
from meshkit.mesh_tls import MeshTls

HOUR = timedelta(hours=1)


def made(folder: Path, *, now: datetime | None = None, days: int = 1, renew: bool = False) -> CertsFolder:
    """A folder with an authority, and what it has signed for the front door and the mesh."""
    place = CertsFolder(folder)
    place.fill([], days=days, renew=renew, now=now or datetime.now(UTC))
    return place


def localhost(folder: Path) -> tuple[Path, Path]:
    """The files of a certificate for localhost and its key. Whoever trusts that file trusts the server."""
    place = made(folder)
    return place.cert_file("front"), place.key_file("front")


def mesh_tls(folder: Path) -> MeshTls:
    """What a process of the mesh is told; for one of another mesh, in another folder."""
    return shown(made(folder), "mesh")


def shown(place: CertsFolder, name: str) -> MeshTls:
    """The same for somebody who shows another certificate of that authority."""
    return MeshTls(
        cert_file=str(place.cert_file(name)),
        key_file=str(place.key_file(name)),
        ca_file=str(place.cert_file("ca")),
    )


def expired(folder: Path) -> CertsFolder:
    """Like `made`, with certificates that ended an hour ago; the authority has not."""
    return made(folder, now=datetime.now(UTC) - timedelta(days=1) - HOUR)


def variables(tls: MeshTls) -> dict[str, str]:
    """The settings that say the same."""
    return {
        "SHOAL_MESH_CERT_FILE": tls.cert_file,
        "SHOAL_MESH_KEY_FILE": tls.key_file,
        "SHOAL_MESH_CA_FILE": tls.ca_file,
    }

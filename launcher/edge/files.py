"""What Envoy reads, apart from its pools: its bootstrap and its certificates."""

import dataclasses
import time
from pathlib import Path

from envoyconf import secrets
from envoyconf.bootstrap import render
from envoyconf.topology import Topology
from launcher.edge.pem import pem_in
from launcher.home import Home, make_private, write_private
from launcher.settings import UpSettings
from meshkit.identity import IdentitySigner, unchecked

_UNCHECKED_LIFETIME_SECONDS = 10 * 365 * 24 * 3600
"""It is signed once, when the mesh starts."""


class EnvoyFiles:
    """The files of one mesh, all of mode 0600: they hold keys and a signed identity."""

    def __init__(self, settings: UpSettings, home: Home) -> None:
        self._settings = settings
        self._home = home
        self._folder = settings.topology().files

    def write(self) -> None:
        """Writes all of them. Raises OSError if a certificate cannot be read."""
        write_private(self._home.envoy_file, render(envoy_topology(self._settings, self._home)))
        settings = self._settings
        if settings.tls_cert_file:
            self.publish_certificate(_text(settings.tls_cert_file), _text(settings.tls_key_file))
        if settings.mesh_cert_file:
            self.publish_mesh(_text(settings.mesh_cert_file), _text(settings.mesh_key_file))
            authority = secrets.render_mesh_ca(_text(settings.mesh_ca_file))
            _publish(secrets.mesh_ca_file(self._folder), authority)

    def publish_certificate(self, cert_pem: str, key_pem: str) -> None:
        """Gives Envoy another certificate for the front door. New connections get it, streams go on."""
        _publish(secrets.front_secret_file(self._folder), secrets.render_certificate(cert_pem, key_pem))

    def publish_mesh(self, cert_pem: str, key_pem: str) -> None:
        """Gives Envoy another certificate for the inside of the mesh."""
        _publish(secrets.mesh_secret_file(self._folder), secrets.render_mesh(cert_pem, key_pem))


def envoy_topology(settings: UpSettings, home: Home) -> Topology:
    """The topology with the identity of callers on routes that fail open, signed for this mesh."""
    signer = IdentitySigner.from_file(settings.mesh_secret_file or str(home.secret_file))
    identity = signer.sign(unchecked(expires=time.time() + _UNCHECKED_LIFETIME_SECONDS))
    return dataclasses.replace(settings.topology(), fail_open=settings.fail_open(identity))


def _publish(path: str, content: str) -> None:
    make_private(Path(path).parent)
    write_private(Path(path), content)


def _text(file: str) -> str:
    return pem_in(Path(file))

"""What `shoal up` tells Envoy about callers on routes that fail open."""

import time
from pathlib import Path

from launcher.edge.files import envoy_topology
from launcher.home import Home
from launcher.settings import UpSettings
from meshkit.identity import Authentication, IdentitySigner

A_YEAR = 365 * 24 * 3600


def test_the_identity_of_unchecked_callers_is_an_anonymous_one_signed_for_this_mesh(tmp_path: Path) -> None:
    home = Home.at(str(tmp_path))
    home.prepare()
    fail_open = envoy_topology(UpSettings(home=str(tmp_path), fail_open_routes="task"), home).fail_open
    assert fail_open
    signer = IdentitySigner.from_file(str(home.secret_file))
    identity = signer.verify([fail_open.identity], now=time.time() + A_YEAR)
    assert (identity.authentication, identity.tier) == (Authentication.UNCHECKED, "anonymous")
    assert identity.tenant.startswith("anonymous-")
    assert identity.is_anonymous


def test_a_secret_from_elsewhere_signs_it_too(tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere"
    secret.write_text("another secret of 32 bytes or more")
    home = Home.at(str(tmp_path / "home"))
    home.prepare()
    settings = UpSettings(home=str(home.folder), mesh_secret_file=str(secret), fail_open_routes="task")
    fail_open = envoy_topology(settings, home).fail_open
    assert fail_open
    identity = IdentitySigner.from_file(str(secret)).verify([fail_open.identity], now=time.time())
    assert identity.authentication is Authentication.UNCHECKED

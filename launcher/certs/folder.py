"""The folder of `shoal certs`: what is still good in it is kept, the rest is made anew."""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from launcher.certs import authority as certs
from launcher.certs.authority import FRONT, LOCAL_NAMES, MESH, Issued, Leaf
from launcher.home import make_private
from meshkit.mesh_tls import NAME as MESH_NAME

AUTHORITY = "ca"


class CertsError(Exception):
    """The folder cannot be used. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one certificate."""

    file: Path
    news: Literal["made", "kept"]
    ends: datetime


@dataclass(frozen=True, slots=True)
class CertsFolder:
    """ca.pem, front.pem and mesh.pem, each with its key beside it, such as ca-key.pem."""

    folder: Path

    def cert_file(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key_file(self, name: str) -> Path:
        return self.folder / f"{name}-key.pem"

    def fill(self, names: Sequence[str], *, days: int, renew: bool, now: datetime) -> list[Outcome]:
        """Sees to it that each certificate is there and good; the front door's has `names` and those it had before.

        With `renew` the authority alone is kept. New files replace the old ones by renaming. Raises CertsError.
        """
        try:
            make_private(self.folder)
            authority, news = self._authority(now)
            outcomes = [Outcome(self.cert_file(AUTHORITY), news, authority.ends)]
            for leaf, wanted in ((FRONT, [*LOCAL_NAMES, *names]), (MESH, [MESH_NAME])):
                outcomes.append(self._leaf(leaf, wanted, by=authority, days=days, renew=renew, now=now))
        except OSError as error:
            raise CertsError(
                f"{self.folder} cannot be used: {error.strerror} ({error.filename}); name another by --folder."
            ) from None
        return outcomes

    def _authority(self, now: datetime) -> tuple[Issued, Literal["made", "kept"]]:
        """A new one if there is none, or if it has expired: then nothing that it signed is of use either."""
        kept = self._read(AUTHORITY)
        if kept and kept.ends > now:
            return kept, "kept"
        return self._written(AUTHORITY, certs.new_authority(now)), "made"

    def _leaf(self, leaf: Leaf, names: Sequence[str], *, by: Issued, days: int, renew: bool, now: datetime) -> Outcome:
        kept = self._read(leaf.file)
        if kept and not renew and certs.is_good(kept, names, by=by, now=now):
            return Outcome(self.cert_file(leaf.file), "kept", kept.ends)
        every = certs.spelled(names).union(kept.names() if kept else [])
        made = self._written(leaf.file, certs.issue(leaf, sorted(every), by=by, now=now, days=days))
        return Outcome(self.cert_file(leaf.file), "made", made.ends)

    def _read(self, name: str) -> Issued | None:
        """None if it is not there. Raises CertsError if a half of it is missing or cannot be read."""
        cert_file, key_file = self.cert_file(name), self.key_file(name)
        if not cert_file.exists() and not key_file.exists():
            return None
        try:
            return Issued.read(cert_file.read_bytes(), key_file.read_bytes())
        except (ValueError, FileNotFoundError) as error:
            raise CertsError(
                f"{cert_file} and {key_file.name} do not make a pair ({error}); "
                "bring back what is missing, or remove both to have them made anew."
            ) from None

    def _written(self, name: str, issued: Issued) -> Issued:
        _replace(self.key_file(name), issued.key_pem(), mode=0o600)
        _replace(self.cert_file(name), issued.cert_pem(), mode=0o644)
        return issued


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    """A reader sees the old content or the new, never a part."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)

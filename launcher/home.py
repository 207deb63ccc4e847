"""The home: one folder with everything that the mesh keeps on this machine."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LOG_ROTATED_FROM_BYTES = 10 * 1024 * 1024


class HomeError(Exception):
    """The folder cannot be the home of this mesh. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where things are. `folder` is absolute."""

    folder: Path

    @classmethod
    def at(cls, folder: str) -> "Home":
        return cls(Path(folder).absolute())

    @property
    def secret_file(self) -> Path:
        return self.folder / "mesh-secret"

    @property
    def demo_key_file(self) -> Path:
        return self.folder / "demo-api-key"

    @property
    def envoy_file(self) -> Path:
        return self.folder / "envoy.yaml"

    @property
    def processes_file(self) -> Path:
        return self.folder / "processes.json"

    @property
    def control_socket(self) -> Path:
        return self.folder / "control"

    @property
    def valkey_folder(self) -> Path:
        return self.folder / "valkey"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def log_of(self, process: str) -> Path:
        return self.logs / f"{process}.log"

    def prepare(self) -> None:
        """Makes the folders, and the mesh secret if there is none. Raises HomeError if that cannot be."""
        try:
            for folder in (self.folder, self.logs, self.valkey_folder):
                make_private(folder)
            _keep_or_write(self.secret_file, secrets.token_urlsafe(32))
        except OSError as error:
            raise HomeError(
                f"{self.folder} cannot be the home: {error.strerror} ({error.filename}); "
                "set SHOAL_HOME to a folder that can be written."
            ) from None

    def demo_key(self) -> str:
        """The kept demo key; empty if there is none."""
        file = self.demo_key_file
        return file.read_text(encoding="utf-8", errors="replace").strip() if file.exists() else ""

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Keeps other meshes out of this home until the end. Raises HomeError if one is in it."""
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HomeError(
                    f"Another mesh runs in {self.folder}; stop it, or set SHOAL_HOME to another folder."
                ) from None
            yield


def make_private(folder: Path) -> None:
    """Makes a folder of mode 0700, and those above it that are missing likewise; one that is there stays as it is.

    Raises OSError, also if there is something else in its place.
    """
    for place in (*(place for place in reversed(folder.parents) if not place.exists()), folder):
        place.mkdir(mode=0o700, exist_ok=True)


def home_faults(folder: str) -> list[str]:
    """One fault if the folder of SHOAL_HOME can neither be used nor made, else none."""
    path = Path(folder).absolute()
    nearest = next(place for place in (path, *path.parents) if os.access(place, os.F_OK))
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return []
    return [f"SHOAL_HOME: cannot write in {nearest}"]


def write_private(path: Path, text: str) -> None:
    """Writes a file of mode 0600. A reader sees the old content or the new, never a part."""
    draft = _draft(path, text)
    draft.replace(path)


def rotate(log: Path) -> None:
    """Moves a log that has grown large to `<name>.log.1`, in place of the one before."""
    if log.exists() and log.stat().st_size > _LOG_ROTATED_FROM_BYTES:
        log.replace(log.with_name(log.name + ".1"))


def _keep_or_write(path: Path, text: str) -> None:
    draft = _draft(path, text)
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def _draft(path: Path, text: str) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    except BaseException:
        # On a full disk there would be one more with every attempt.
        draft.unlink()
        raise
    return draft

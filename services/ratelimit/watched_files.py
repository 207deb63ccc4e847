"""Files that are read at the start and again whenever they change: one, or those of a folder together."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import structlog

log = structlog.get_logger()

T = TypeVar("T")

POLL_SECONDS = 1.0
SUFFIXES = (".yaml", ".yml")

READ, REFUSED = "read", "refused"
"""What may become of a version of the files."""

Texts = Mapping[str, str]
"""What is written in each file, by its path."""

_NOT_USED = "a changed file cannot be used; what it said before holds"


class WatchedFiles(Generic[T]):
    """What a file says, or all files named *.yaml and *.yml of a folder together.

    `read` reads whatever is at the path and raises ValueError that names the file, as `read_file` does. `count` is told
    READ or REFUSED for each version but the first. The constructor reads at once and lets errors pass; of later
    versions one that cannot be used, or none at all, is logged once and what was there before stays.
    """

    def __init__(self, path: Path, *, read: Callable[[], T], count: Callable[[str], None]) -> None:
        self._path = path
        self._read = read
        self._count = count
        self._seen = _signature(path)
        self.current: T = read()

    async def run(self) -> None:
        """Looks for changes until it is cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await asyncio.to_thread(self.check)

    def check(self) -> None:
        """Reads the files again if they changed. Raises nothing."""
        signature = _signature(self._path)
        if signature == self._seen:
            return
        self._seen = signature
        try:
            self.current = self._read()
        except ValueError as error:
            log.error(_NOT_USED, fault=str(error))
            self._count(REFUSED)
        except Exception as error:
            # The reader is at fault, not the file; requests must not pay for that, nor later versions.
            log.error(_NOT_USED, fault=f"{self._path}: {error!r}", exc_info=error)
            self._count(REFUSED)
        else:
            log.info("a changed file was read", path=str(self._path))
            self._count(READ)


def read_files(path: Path) -> Texts:
    """What is written in a file, or in those of a folder. Raises ValueError naming what cannot be read."""
    with _naming_what_is_unreadable(path):
        files = _files(path)
    if not files:
        raise ValueError(f"{path}: the folder holds no file named *.yaml or *.yml")
    return {str(file): read_file(file) for file in files}


def read_file(file: Path) -> str:
    """What is written in it. Raises ValueError naming it."""
    with _naming_what_is_unreadable(file):
        if file.exists() and not file.is_file():
            raise ValueError(f"{file}: must be a file")
        content = file.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{file}: line {line}: this is not UTF-8") from error


@contextmanager
def naming(file: str) -> Iterator[None]:
    """Puts the file's name in front of the ValueErrors that are raised within."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


@contextmanager
def _naming_what_is_unreadable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(f"{error.filename or path}: cannot be read: {error.strerror}") from error


def _files(path: Path) -> list[Path]:
    """In the order of their names. A link that leads nowhere is among them, for that is a fault; editors keep theirs in
    hidden ones, which are not. Raises OSError."""
    if not path.is_dir():
        return [path]
    named = (file for file in path.iterdir() if file.suffix in SUFFIXES and not file.name.startswith("."))
    return sorted(file for file in named if not file.is_dir())


def _signature(path: Path) -> object:
    """What tells versions of the files apart, whether they are written anew, renamed, made readable, or links that turn
    elsewhere."""
    try:
        found = [(file, file.stat()) for file in _files(path)]
    except OSError as error:
        return error.filename, error.strerror
    return [(file, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino) for file, stat in found]

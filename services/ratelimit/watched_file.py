"""A file, or the files of a folder, read at the start and again whenever they change."""

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

Texts = Mapping[str, str]
"""What is written in each file, by its path."""


class WatchedFiles(Generic[T]):
    """What a file says, or all files named *.yaml and *.yml of a folder together.

    `parse` raises ValueError that names the file, as within `naming`. `count` is told "read" or "refused" for each
    version but the first. The constructor reads at once and raises ValueError; of later versions a faulty one is logged
    and what was there before stays.
    """

    def __init__(self, path: Path, *, parse: Callable[[Texts], T], count: Callable[[str], None]) -> None:
        self._path = path
        self._parse = parse
        self._count = count
        self._seen = _signature(path)
        self.current: T = self._read()

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
            log.error("a changed file cannot be used; what it said before holds", fault=str(error))
            self._count("refused")
        else:
            log.info("a changed file was read", path=str(self._path))
            self._count("read")

    def _read(self) -> T:
        return self._parse(texts(self._path))


def texts(path: Path) -> Texts:
    """What is written in a file, or in those of a folder. Raises ValueError naming what cannot be read."""
    try:
        files = _files(path)
        if not files:
            raise ValueError(f"{path}: the folder holds no file named *.yaml or *.yml")
        return {str(file): _text(file) for file in files}
    except OSError as error:
        raise ValueError(f"{error.filename or path}: cannot be read: {error.strerror}") from error


@contextmanager
def naming(file: str) -> Iterator[None]:
    """Puts the file's name in front of the ValueErrors that are raised within."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _files(path: Path) -> list[Path]:
    """In the order of their names. Raises OSError."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{file}: line {line}: this is not UTF-8") from error


def _signature(path: Path) -> object:
    """What tells versions of the files apart, whether they are written anew, renamed, or links that turn elsewhere."""
    try:
        found = [(file, file.stat()) for file in _files(path)]
    except OSError as error:
        return error.strerror
    return [(file, stat.st_mtime_ns, stat.st_size, stat.st_ino) for file, stat in found]

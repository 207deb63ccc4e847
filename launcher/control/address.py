"""The address of the control socket. A socket address holds about a hundred bytes, however long a path may be."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.home import HomeError

_MOST_BYTES = 103
"""What macOS takes; Linux takes 107."""
_OPEN_FILES = Path("/proc/self/fd")


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """What to bind or connect to. It is good until the end: a longer path is reached through its folder, held open.

    Raises HomeError where that cannot be, and OSError if the folder cannot be opened.
    """
    if len(os.fsencode(path)) <= _MOST_BYTES:
        yield str(path)
        return
    if not _OPEN_FILES.is_dir():
        raise HomeError(f"{path} is too long for a socket; set SHOAL_HOME to a folder with a shorter path.")
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield str(_OPEN_FILES / str(folder) / path.name)
    finally:
        os.close(folder)

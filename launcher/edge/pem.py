"""Certificates and keys as text, out of the files that the operator names."""

import errno
from pathlib import Path

MOST_CHARACTERS = 1 << 20
"""A chain of certificates has a few thousand."""


def pem_in(file: Path) -> str:
    """What a file of PEM says.

    Raises OSError if it cannot be read, is no regular file (a pipe might never end, or never begin) or is larger than
    1 MiB; ValueError if it is no text.
    """
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "it is no regular file", str(file))
    with file.open() as opened:
        text = opened.read(MOST_CHARACTERS + 1)
    if len(text) > MOST_CHARACTERS:
        raise OSError(errno.EFBIG, "it is larger than 1 MiB", str(file))
    return text

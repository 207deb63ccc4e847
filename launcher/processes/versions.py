"""Which version of a program would start now: what is installed may change while the mesh runs."""

from importlib import metadata
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2]
_SHORT = 7


def installed(package: str) -> str:
    """The version of an installed package; empty if there is none."""
    if not package:
        return ""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def shoal() -> str:
    """Our own version, with the commit where it runs from a checkout, such as 0.1.0+1a2b3c4."""
    revision = commit(_CHECKOUT)
    return f"{installed('shoal')}+{revision[:_SHORT]}" if revision else installed("shoal")


def commit(checkout: Path) -> str:
    """The commit that is checked out in a folder, read without git; empty if that is no checkout."""
    git = checkout / ".git"
    head = _text(git / "HEAD")
    if not head.startswith("ref: "):
        return head
    ref = head.removeprefix("ref: ")
    return _text(git / ref) or _packed(_text(git / "packed-refs"), ref)


def _packed(refs: str, ref: str) -> str:
    for line in refs.splitlines():
        match line.split():
            case [revision, name] if name == ref:
                return revision
    return ""


def _text(file: Path) -> str:
    return file.read_text().strip() if file.is_file() else ""

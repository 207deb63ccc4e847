"""The files of the repository: what git knows and would add, not what lies in ignored folders."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def listed(*options: str) -> list[Path]:
    """What `git ls-files` lists, as far as it is there."""
    names = subprocess.run(["git", "ls-files", "-z", *options], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in names.decode().split("\0") if name and (ROOT / name).is_file()]


@cache
def modules() -> list[Path]:
    """Every module that is committed or about to be, in the order of the paths."""
    return sorted(listed("--cached", "--others", "--exclude-standard", "*.py"))


def sources(*folders: str) -> Iterator[Path]:
    """The modules inside the folders, folder by folder."""
    for folder in folders:
        yield from (path for path in modules() if path.is_relative_to(ROOT / folder))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> frozenset[str]:
    """The modules that a module imports, and each name that it imports from one, in full."""
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return frozenset(found)


def holding(pattern: re.Pattern[str], paths: Iterator[Path]) -> list[Path]:
    """Those whose text holds what the pattern looks for."""
    return [path for path in paths if pattern.search(path.read_text())]

"""Generates the Python stubs in gen/ from the protos, or checks that the committed ones are fresh.

Usage: python protos/stubs.py --write | --check
"""

import argparse
import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
STUBS = PROTOS.parent / "gen" / "shoal"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="replace gen/shoal")
    action.add_argument("--check", action="store_true", help="exit 1 and name the files that differ")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = Path(scratch) / "shoal"
        if arguments.write:
            shutil.rmtree(STUBS, ignore_errors=True)
            shutil.copytree(fresh, STUBS)
            return 0
        stale = differing_files(fresh, STUBS)
    for name in stale:
        print(f"gen/shoal/{name} is stale: run `make proto` and commit the result", file=sys.stderr)  # noqa: T201
    return 1 if stale else 0


def generate(target: Path) -> None:
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    outputs = [f"--{kind}_out={target}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    plugins = [
        f"--plugin=protoc-gen-{name}={Path(sys.executable).parent / f'protoc-gen-{name}'}"
        for name in ("mypy", "mypy_grpc")
    ]
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{well_known}", *plugins, *outputs, *sources]) != 0:
        raise SystemExit("protoc failed; its message is above")


def differing_files(left: Path, right: Path) -> list[str]:
    """Names every file that is on one side only or differs, relative to the two folders."""
    names = {
        str(path.relative_to(side))
        for side in (left, right)
        for path in side.rglob("*.py*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return sorted(name for name in names if not _same(left / name, right / name))


def _same(left: Path, right: Path) -> bool:
    return left.is_file() and right.is_file() and filecmp.cmp(left, right, shallow=False)


if __name__ == "__main__":
    sys.exit(main())

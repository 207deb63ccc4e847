"""What the peers need, each in a folder of its own, built once and again when what it is pinned to changes."""

import asyncio
import hashlib
import shutil
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from load.measuring.generator import MeasurementError, output_of
from load.measuring.progress import say

_HERE = Path(__file__).parent
_FOLDER = _HERE / ".environments"
_STAMP = ".built-from"


class UnavailableError(MeasurementError):
    """Something cannot be built on this machine. The message says what it lacks."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Programs, and how they are built into a folder from files that pin them."""

    name: str
    pinned_by: Sequence[Path]
    build: Callable[[Path], Awaitable[None]]

    async def built(self) -> Path:
        """Its folder. Raises UnavailableError."""
        folder, stamp = _FOLDER / self.name, self._stamp()
        marker = folder / _STAMP
        if not marker.exists() or marker.read_text() != stamp:
            say(f"building the environment of {self.name}, once ...")
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            folder.mkdir(parents=True)
            await self._build(folder)
            marker.write_text(stamp)
        return folder

    async def _build(self, folder: Path) -> None:
        try:
            await self.build(folder)
        except UnavailableError:
            raise
        except MeasurementError as error:
            raise UnavailableError(f"{self.name} could not be built: {error}") from None

    def _stamp(self) -> str:
        """Of what it is pinned by, and of the Python that it may be built with."""
        digest = hashlib.sha256(sys.version.encode())
        for path in self.pinned_by:
            digest.update(path.read_bytes())
        return digest.hexdigest()


def _needed(program: str) -> str:
    if found := shutil.which(program):
        return found
    raise UnavailableError(f"it needs {program}, which is not on the PATH")


async def _build_go(folder: Path) -> None:
    await output_of([_needed("go"), "build", "-C", str(_HERE / "go"), "-o", f"{folder}/", "./mock", "./streams"])


async def _build_ratelimit(folder: Path) -> None:
    command = "github.com/envoyproxy/ratelimit/src/service_cmd"
    await output_of([_needed("go"), "build", "-C", str(_HERE / "ratelimit"), "-o", f"{folder}/ratelimit", command])


async def _build_litellm(folder: Path) -> None:
    uv = [sys.executable, "-m", "uv"]
    await output_of([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
    # The lock is complete, so nothing is resolved, and every download is held to its hash. Compiled now, as in a
    # container image of it: its first start would take longer than the others.
    locked = [
        "--no-deps",
        "--require-hashes",
        "--compile-bytecode",
        "--requirement",
        str(_HERE / "litellm" / "requirements.lock"),
    ]
    await output_of([*uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *locked])


async def _build_portkey(folder: Path) -> None:
    npm = _needed("npm")
    for name in _PORTKEY_FILES:
        shutil.copy(_HERE / "portkey" / name, folder)
    await output_of([npm, "ci", "--prefix", str(folder), "--no-audit", "--no-fund"])


_PORTKEY_FILES = ("package.json", "package-lock.json", ".npmrc")

TOOLS = Environment("go", [_HERE / "go" / name for name in ("go.mod", "mock/main.go", "streams/main.go")], _build_go)
"""The mock and the client of streams."""
LITELLM = Environment("litellm", [_HERE / "litellm" / "requirements.lock"], _build_litellm)
PORTKEY = Environment("portkey", [_HERE / "portkey" / name for name in _PORTKEY_FILES], _build_portkey)
RATELIMIT = Environment("ratelimit", [_HERE / "ratelimit" / name for name in ("go.mod", "go.sum")], _build_ratelimit)

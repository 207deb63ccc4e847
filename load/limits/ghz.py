"""Calls per second by ghz, a load generator for gRPC that costs less than what it measures."""

import asyncio
import contextlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from load.limits.questions import METHOD

VERSION = "v0.121.0"
_FOLDER = Path(__file__).resolve().parents[1] / ".bin"
_PROTO = Path(__file__).resolve().parents[2] / "protos" / "shoal" / "external" / "rls.proto"
_MOST_SECONDS = 180


class GhzError(Exception):
    """ghz is not there, or did not do its work. The message says what to do, or what it said."""


class _Latency(msgspec.Struct):
    percentage: float
    latency: int


class _Report(msgspec.Struct):
    """What ghz writes; there is more in it. Times are nanoseconds."""

    count: int
    rps: float
    status_codes: dict[str, int] = msgspec.field(name="statusCodeDistribution", default_factory=dict)
    latencies: list[_Latency] | None = msgspec.field(name="latencyDistribution", default=None)


@dataclass(frozen=True, slots=True)
class Speed:
    """What a run of calls came to."""

    calls_per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Load:
    """So many calls, from so many workers that share the connections. Each asks again when it has its answer."""

    calls: int
    workers: int
    connections: int


async def find() -> Path:
    """ghz from the PATH or our own folder; built once, where there is Go. Raises GhzError."""
    built = _FOLDER / "ghz"
    if found := shutil.which("ghz"):
        return Path(found)
    if not built.exists():
        await _build()
    return built


async def _build() -> None:
    source = f"github.com/bojand/ghz/cmd/ghz@{VERSION}"
    go = shutil.which("go")
    if go is None:
        raise GhzError(f"ghz is needed: put it on the PATH, or install Go, with which `go install {source}` builds it")
    print(f"building ghz {VERSION}, once ...", file=sys.stderr, flush=True)
    process = await asyncio.create_subprocess_exec(
        go, "install", source, env={**os.environ, "GOBIN": str(_FOLDER)}, stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await _ended(process)
    if process.returncode != 0:
        raise GhzError(f"`go install {source}` failed: {complaint.decode()}")


async def measure(ghz: Path, address: str, question: bytes, load: Load) -> Speed:
    """Sends the question again and again. Raises GhzError unless every call is answered."""
    options = ["--insecure", "--proto", str(_PROTO), "--call", METHOD.strip("/"), "--binary", "--format", "json"]
    counts = {"--total": load.calls, "--concurrency": load.workers, "--connections": load.connections}
    bounds = [f"{option}={count}" for option, count in counts.items()]
    process = await asyncio.create_subprocess_exec(
        ghz, *options, *bounds, address,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, complaint = await _ended(process, question)
    if process.returncode != 0:
        raise GhzError(f"ghz failed: {complaint.decode()}")
    return speed_in(output, load)


def speed_in(output: bytes, load: Load) -> Speed:
    """Reads the report of a run. Raises GhzError unless every call was answered."""
    report = msgspec.json.decode(output, type=_Report)
    if report.status_codes != {"OK": load.calls}:
        raise GhzError(f"of {load.calls} calls not all were answered: {report.status_codes}")
    milliseconds = {entry.percentage: entry.latency / 1e6 for entry in report.latencies or ()}
    return Speed(report.rps, milliseconds[50], milliseconds[99])


async def _ended(process: asyncio.subprocess.Process, sent: bytes | None = None) -> tuple[bytes, bytes]:
    """What the process wrote. It is gone afterwards, also when we are told to stop."""
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            return await process.communicate(sent)
    except TimeoutError:
        raise GhzError(f"ghz or its build took more than {_MOST_SECONDS} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

"""Calls per second by ghz, a load generator for gRPC that costs less than what it measures."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from load.measuring.generator import MeasurementError, output_of
from load.measuring.progress import say
from load.measuring.rpc import PROTOS, Rpc
from load.measuring.speed import Load, Speed

VERSION = "v0.121.0"
_FOLDER = Path(__file__).resolve().parents[1] / ".bin"


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
class Call:
    """A call that is made again and again."""

    rpc: Rpc
    request: bytes | str
    """The serialised request; or as JSON, a template of Go in which {{.RequestNumber}} counts the calls."""
    metadata: Mapping[str, str] = field(default_factory=dict)


async def find() -> str:
    """ghz from the PATH or our own folder; built once, where there is Go. Raises MeasurementError."""
    built = _FOLDER / "ghz"
    if found := shutil.which("ghz"):
        return found
    if not built.exists():
        await _build()
    return str(built)


async def _build() -> None:
    source = f"github.com/bojand/ghz/cmd/ghz@{VERSION}"
    go = shutil.which("go")
    if go is None:
        raise MeasurementError(
            f"ghz is needed: put it on the PATH, or install Go, with which `go install {source}` builds it"
        )
    say(f"building ghz {VERSION}, once ...")
    await output_of([go, "install", source], environment={**os.environ, "GOBIN": str(_FOLDER)})


async def measure(ghz: str, address: str, call: Call, load: Load) -> Speed:
    """Makes the calls. Raises MeasurementError unless each is answered."""
    what = ["--import-paths", str(PROTOS), "--proto", str(call.rpc.proto), "--call", call.rpc.path.strip("/")]
    counts = {"--total": load.calls, "--concurrency": load.workers, "--connections": load.connections}
    options = ["--insecure", "--format", "json", *(f"{option}={count}" for option, count in counts.items())]
    if call.metadata:
        options += ["--metadata", json.dumps(call.metadata)]
    if isinstance(call.request, bytes):
        output = await output_of([ghz, *what, *options, "--binary", address], delimited(call.request))
    else:
        output = await output_of([ghz, *what, *options, "--data", call.request, address])
    return speed_in(output, load)


def delimited(message: bytes) -> bytes:
    """With its length before it, as a varint. Without one, ghz may take the beginning of the message for it."""
    length, prefix = len(message), bytearray()
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*prefix, length]) + message


def speed_in(output: bytes, load: Load) -> Speed:
    """Reads the report of a run. Raises MeasurementError unless every call was answered, and enough of them."""
    report = msgspec.json.decode(output, type=_Report)
    if report.status_codes != {"OK": load.calls}:
        raise MeasurementError(f"of {load.calls} calls not all were answered: {report.status_codes}")
    milliseconds = {entry.percentage: entry.latency / 1e6 for entry in report.latencies or ()}
    if not {50, 99} <= milliseconds.keys():
        raise MeasurementError(f"ghz says no percentiles of {load.calls} calls: measure more of them")
    return Speed(report.rps, milliseconds[50], milliseconds[99])

"""Calls per second by ghz, a load generator for gRPC that costs less than what it measures."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from load.measuring.generator import MeasurementError, output_of
from load.measuring.progress import say
from load.measuring.report import percentile
from load.measuring.rpc import PROTOS, Rpc
from load.measuring.speed import Load, Outcome, Speed, TimedLoad, enough_for

VERSION = "v0.121.0"
_PATIENCE = "60s"
_MOST_CONNECTIONS = 4
_FOLDER = Path(__file__).resolve().parents[1] / ".bin"


class _Latency(msgspec.Struct):
    percentage: float
    latency: int


class _Answer(msgspec.Struct):
    latency: int


class _Report(msgspec.Struct):
    """What ghz writes; there is more in it. Times are nanoseconds."""

    count: int
    rps: float
    total: int = 0
    details: list[_Answer] | None = None
    status_codes: dict[str, int] = msgspec.field(name="statusCodeDistribution", default_factory=dict)
    latencies: list[_Latency] | None = msgspec.field(name="latencyDistribution", default=None)


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is made again and again."""

    rpc: Rpc
    request: bytes | str
    """The serialised request; or as JSON, a template of Go in which {{.RequestNumber}} counts the calls. A list is of
    requests that are made one after the other, from the first again after the last."""
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
    counts = {"--total": load.calls, "--concurrency": load.workers, "--connections": load.connections}
    extent = [f"{option}={count}" for option, count in counts.items()]
    return speed_in(await _run(ghz, address, call, extent), load)


async def measure_for(ghz: str, address: str, call: Call, load: TimedLoad) -> Outcome:
    """Makes the calls for as long as the load says. Those that are on their way at the end do not count.

    Percentiles are of all answers, whatever their status. Raises MeasurementError if ghz fails.
    """
    connections = min(_MOST_CONNECTIONS, load.callers)
    # With a duration ghz ignores a total: the bound is the rate at which it would be reached in the last second.
    bounds = [f"--duration={load.seconds}s", "--duration-stop=ignore", f"--rps={load.most_calls // load.seconds}"]
    extent = [*bounds, f"--concurrency={load.callers}", f"--connections={connections}", f"--timeout={_PATIENCE}"]
    return outcome_in(await _run(ghz, address, call, extent))


async def _run(ghz: str, address: str, call: Call, extent: Sequence[str]) -> bytes:
    """The report."""
    what = ["--import-paths", str(PROTOS), "--proto", str(call.rpc.proto), "--call", call.rpc.path.strip("/")]
    options = ["--insecure", "--format", "json", *extent]
    if call.metadata:
        options += ["--metadata", json.dumps(call.metadata)]
    if isinstance(call.request, bytes):
        return await output_of([ghz, *what, *options, "--binary", address], delimited(call.request))
    return await output_of([ghz, *what, *options, "--data", call.request, address])


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


def outcome_in(output: bytes) -> Outcome:
    """Reads the report of a run with whatever failed in it."""
    report = msgspec.json.decode(output, type=_Report)
    latencies = [answer.latency / 1e6 for answer in report.details or ()]
    errors = dict(report.status_codes)
    return Outcome(
        report.total / 1e9,
        errors.pop("OK", 0),
        errors,
        *(percentile(latencies, share / 100) if enough_for(share, len(latencies)) else None for share in (50, 95, 99)),
    )

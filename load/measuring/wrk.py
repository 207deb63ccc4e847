"""Requests per second by wrk, a load generator for HTTP that costs far less than what it measures."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from load.measuring.generator import MeasurementError, output_of
from load.measuring.speed import Outcome, TimedLoad, enough_for

_PATIENCE_SECONDS = 60
_SCRIPT = Path(__file__).with_name("wrk_script.lua")


@dataclass(frozen=True, slots=True)
class RestRequest:
    """Requests that are made one after the other, from the first again after the last; and what answers should be."""

    method: str
    headers: Mapping[str, str]
    bodies: Sequence[str]
    """In them, `{number}` stands for the number of the request, from 0 on."""
    status: int = 200
    ending: str = ""
    """What whole answers contain, such as the last event of a stream. Others count as `incomplete`."""


class _Report(msgspec.Struct):
    """What our script writes. Times are microseconds."""

    duration: int
    statuses: dict[str, int]
    incomplete: int
    sockets: dict[str, int]
    percentiles: dict[int, float]


async def find() -> str:
    """wrk from the PATH. Raises MeasurementError."""
    if found := shutil.which("wrk"):
        return found
    raise MeasurementError("wrk is needed: put it on the PATH, as by `apt-get install wrk` or `brew install wrk`")


async def measure(wrk: str, url: str, request: RestRequest, load: TimedLoad) -> Outcome:
    """Makes the requests; each caller has a connection of its own. Those that are on their way at the end do not count.

    wrk corrects its percentiles for what a waiting caller does not ask meanwhile, so they tend to be above ghz's. They
    are of all answers, whatever their status. Raises MeasurementError if wrk fails.
    """
    with tempfile.TemporaryDirectory(prefix="shoal-wrk-") as folder:
        script = Path(folder) / "requests.lua"
        script.write_text(f"{_variables(request, load)}\n{_SCRIPT.read_text()}")
        # One thread counts all requests, so that no two have the same number.
        extent = ["--threads=1", f"--connections={load.callers}", f"--duration={load.seconds}s"]
        output = await output_of([wrk, *extent, f"--timeout={_PATIENCE_SECONDS}s", f"--script={script}", url])
    return outcome_in(output, request)


def outcome_in(output: bytes, request: RestRequest) -> Outcome:
    """Reads what the script wrote, in the last line."""
    report = msgspec.json.decode(output.splitlines()[-1], type=_Report)
    statuses = dict(report.statuses)
    answered = statuses.pop(str(request.status), 0) - report.incomplete
    kinds = {**statuses, "incomplete": report.incomplete, **report.sockets}
    count = sum(report.statuses.values())
    return Outcome(
        report.duration / 1e6,
        answered,
        {kind: number for kind, number in kinds.items() if number},
        *(report.percentiles[share] / 1000 if enough_for(share, count) else None for share in (50, 95, 99)),
    )


def lua_quoted(text: str) -> str:
    """The text as Lua writes it, every byte by its number."""
    return '"' + "".join(f"\\{byte:03d}" for byte in text.encode()) + '"'


def _variables(request: RestRequest, load: TimedLoad) -> str:
    headers = ", ".join(f"[{lua_quoted(name)}] = {lua_quoted(value)}" for name, value in request.headers.items())
    values = {
        "method": lua_quoted(request.method),
        "headers": f"{{{headers}}}",
        "bodies": f"{{{', '.join(map(lua_quoted, request.bodies))}}}",
        "good_status": request.status,
        "ending": lua_quoted(request.ending),
        "most_calls": load.most_calls,
    }
    return "\n".join(f"local {name} = {value}" for name, value in values.items())

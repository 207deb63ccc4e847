"""REST requests per second, by a client process of ours."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from load.measuring.generator import MeasurementError, output_of
from load.measuring.rest_client import Plan, Report
from load.measuring.speed import Load, Speed


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is made again and again, and the status that its answers should have."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str = ""
    """In the URL and in the body, `{number}` stands for the number of the request, from 0 on."""
    status: int = 200


async def measure(request: Request, load: Load) -> Speed:
    """Makes the requests; each worker has a connection of its own. Raises MeasurementError unless all are answered as
    they should be."""
    plan = Plan(
        request.method, request.url, dict(request.headers), request.body, calls=load.calls, workers=load.workers
    )
    output = await output_of([sys.executable, "-m", "load.measuring.rest_client"], msgspec.json.encode(plan))
    return speed_in(output, request, load)


def speed_in(output: bytes, request: Request, load: Load) -> Speed:
    """Reads the report of a run. Raises MeasurementError unless all were answered as they should be."""
    report = msgspec.json.decode(output, type=Report)
    if report.statuses != {request.status: load.calls}:
        raise MeasurementError(f"of {load.calls} requests not all were answered {request.status}: {report.statuses}")
    return Speed(report.calls_per_second, report.p50_ms, report.p99_ms)

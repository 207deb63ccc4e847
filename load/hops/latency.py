"""Requests one at a time on an idle mesh: how long each hop takes of one."""

import asyncio
import secrets
import statistics
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import aiohttp
import msgspec

from launcher.processes.readiness import HttpOk
from load.hops.attribution import in_order, is_complete, nanoseconds
from load.hops.cases import CASES, Case
from load.hops.client import asking
from load.hops.results import Latency
from load.hops.running import Running, running, traced_model
from load.hops.spans import CLIENT, Span
from load.measuring.generator import MeasurementError
from load.measuring.home import Home
from load.measuring.ports import free_port
from load.measuring.progress import say

_WARM_UPS = 30
_ARRIVAL_SECONDS = 20.0
"""Of the last spans; Envoy and the services send theirs every five."""
_LEAST_COMPLETE = 0.9

Traces = Mapping[str, Sequence[Span]]
"""By their id, without the client's own span."""


async def measured(requests: int) -> list[Latency]:
    """So many of each case. Raises MeasurementError if the spans of too many did not come."""
    say("hops: two meshes start, one of them with spans")
    asked, unseen = {}, {}
    async with (
        Home.made() as home,
        _collector(home) as endpoint,
        running(traced_model(endpoint), endpoint=endpoint) as traced,
        running(traced_model("")) as plain,
    ):
        # In turns, so that both meet the same moods of the machine.
        for case in CASES:
            say(f"hops: {case.name}, one at a time")
            unseen[case.name] = await _asked(plain, case, requests, traced=False)
            asked[case.name] = await _asked(traced, case, requests, traced=True)
        traces = await _arrived(endpoint, [request for of_case in asked.values() for request in of_case])
    return [_latency(case, asked[case.name], unseen[case.name], traces) for case in CASES]


@asynccontextmanager
async def _collector(home: Home) -> AsyncIterator[str]:
    """Yields its endpoint."""
    port = free_port()
    command = [sys.executable, "-m", "load.hops.collector", str(port)]
    async with home.running("collector", command, {}, HttpOk(port, "/spans")):
        yield f"http://127.0.0.1:{port}"


async def _asked(mesh: Running, case: Case, requests: int, *, traced: bool) -> Sequence[Span]:
    """The spans of the client, without those of a few requests before."""
    spans = []
    async with asking(case, mesh.address, mesh.api_key) as ask:
        for number in range(_WARM_UPS + requests):
            trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
            headers = {"traceparent": f"00-{trace_id}-{span_id}-01"} if traced else {}
            begin, end = await ask(number, headers)
            spans.append(Span(trace_id, span_id, "", CLIENT, case.name, True, begin, end))
    return spans[_WARM_UPS:]


async def _arrived(endpoint: str, requests: Sequence[Span]) -> Traces:
    """When all have come, or after some time those that have."""
    traces: Traces = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(_ARRIVAL_SECONDS):
            while not all(is_complete(request, traces.get(request.trace_id, ())) for request in requests):
                await asyncio.sleep(1)
                traces = await _collected(endpoint)
    return traces


async def _collected(endpoint: str) -> Traces:
    async with aiohttp.request("GET", f"{endpoint}/spans") as response:
        response.raise_for_status()
        spans = msgspec.json.decode(await response.read(), type=list[Span])
    traces = defaultdict(list)
    for span in spans:
        traces[span.trace_id].append(span)
    return traces


def _latency(case: Case, asked: Sequence[Span], unseen: Sequence[Span], traces: Traces) -> Latency:
    complete = [request for request in asked if is_complete(request, traces.get(request.trace_id, ()))]
    if len(complete) < _LEAST_COMPLETE * len(asked):
        raise MeasurementError(f"{case.name}: of {len(asked)} requests only {len(complete)} have all their spans")
    shares = [nanoseconds(request, traces[request.trace_id]) for request in complete]
    met = in_order(hop for share in shares for hop in share)
    return Latency(
        case=case.name,
        requests=len(complete),
        incomplete=len(asked) - len(complete),
        hops={hop: statistics.median(share.get(hop, 0) for share in shares) / 1e6 for hop in met},
        p50_ms=_p50_ms(complete),
        p50_without_spans_ms=_p50_ms(unseen),
    )


def _p50_ms(requests: Sequence[Span]) -> float:
    return statistics.median(request.end - request.begin for request in requests) / 1e6

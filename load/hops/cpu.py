"""As many requests as a mesh answers: how much time of a core each process takes of one."""

import asyncio
import resource
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from load.hops.cases import CASES, PATH, Case
from load.hops.results import Cpu
from load.hops.running import Running, cheapest_model, running
from load.measuring import fleet, ghz, wrk
from load.measuring.generator import MeasurementError
from load.measuring.progress import say
from load.measuring.speed import Outcome, TimedLoad

SERVICES = ("Envoy", "limiter", "gateway", "agent", "cache", "Valkey", "launcher", "model", "load generator")
"""In the order in which a request comes to them. All processes of one count together."""
OUTSIDE = frozenset({"model", "load generator"})
"""What is no part of the mesh."""
_SHOWN = {
    "envoy": "Envoy", "ratelimit": "limiter", "valkey-limits": "Valkey", "valkey-state": "Valkey",
    "valkey-cache": "Valkey",
}  # fmt: skip
_WARM_UP_SECONDS = 1
_IDLE_SECONDS = 3

Seconds = Mapping[str, float]
"""Of CPU time, by service, since the start of its processes."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one mesh, as the results keep it."""

    model: str
    replicas: dict[str, int]
    idle: dict[str, float]
    cases: list[Cpu]


async def measured(seconds: int, callers: int) -> Measured:
    """Each case under load for so long. Raises MeasurementError."""
    generators = await ghz.find(), await wrk.find()
    model = await cheapest_model()
    async with running(model) as mesh:
        replicas = Counter(_shown(row.service) for row in await fleet.listed(mesh.home))
        made = Measured(model.name, dict(replicas), await _idle(mesh), [])
        for case in CASES:
            say(f"hops: {case.name}, as many as there are answers to")
            await _load(mesh, case, generators, TimedLoad(_WARM_UP_SECONDS, callers))
            made.cases.append(await _case(mesh, case, generators, TimedLoad(seconds, callers)))
    return made


async def _idle(mesh: Running) -> dict[str, float]:
    """Microseconds a second."""
    before = await _used(mesh)
    await asyncio.sleep(_IDLE_SECONDS)
    return _each(before, await _used(mesh), _IDLE_SECONDS)


async def _case(mesh: Running, case: Case, generators: tuple[str, str], load: TimedLoad) -> Cpu:
    before = await _used(mesh)
    outcome = await _load(mesh, case, generators, load)
    after = await _used(mesh)
    if not outcome.answered:
        raise MeasurementError(f"{case.name}: nothing was answered: {dict(outcome.errors)}")
    return Cpu(
        case=case.name,
        requests_per_second=outcome.calls_per_second,
        errors=dict(outcome.errors),
        microseconds=_each(before, after, outcome.answered + outcome.failed),
    )


async def _load(mesh: Running, case: Case, generators: tuple[str, str], load: TimedLoad) -> Outcome:
    for_grpc, for_rest = generators
    if case.is_grpc:
        return await ghz.measure_for(for_grpc, mesh.address, case.for_ghz(mesh.api_key), load)
    return await wrk.measure(for_rest, f"http://{mesh.address}{PATH}", case.for_wrk(mesh.api_key), load)


async def _used(mesh: Running) -> Seconds:
    """By those that run, and by the generators that have ended. Raises MeasurementError if one has just died."""
    rows = [row for row in await fleet.listed(mesh.home) if row.pid]
    generators = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = defaultdict[str, float](float, {"load generator": generators.ru_utime + generators.ru_stime})
    try:
        launchers = {psutil.Process(row.pid).ppid() for row in rows}
        processes = [*((_shown(row.service), row.pid) for row in rows), ("model", mesh.model)]
        for service, pid in [*processes, *(("launcher", pid) for pid in launchers)]:
            times = psutil.Process(pid).cpu_times()
            used[service] += times.user + times.system
    except psutil.NoSuchProcess as gone:
        raise MeasurementError(f"process {gone.pid} of the mesh ended while it was measured") from None
    return used


def _shown(service: str) -> str:
    return _SHOWN.get(service, service)


def _each(before: Seconds, after: Seconds, count: float) -> dict[str, float]:
    """Microseconds for each of so many."""
    return {service: (after[service] - before[service]) / count * 1e6 for service in SERVICES}

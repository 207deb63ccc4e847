"""Tables of what was measured, and what follows from them."""

from collections.abc import Callable, Mapping, Sequence

from load.hops.attribution import in_order
from load.hops.cpu import OUTSIDE, SERVICES
from load.hops.results import Cpu, Latency, Results
from load.hops.running import SETTINGS
from load.measuring.report import Cell, Table

LATENCY_PLOT, CPU_PLOT = "hops-latency", "hops-cpu"
ONE_THREAD = ("limiter", "gateway", "agent", "cache")
_NOTHING = "-"
_MICROSECONDS = 1e6
_LEAST_MICROSECONDS = 20
"""What is below that may be health checks as well as work."""


def section(results: Results) -> str:
    """Markdown for the page of all results."""
    return "\n\n".join(
        [
            "## Hops: where the time of one request goes",
            f"`make bench-hops` (`{results.command}`). {results.provenance} {_conditions(results)}",
            tables(results, plots="results"),
        ]
    )


def for_operators(results: Results, *, plots: str) -> str:
    """The same for a page that tells by itself how it is measured."""
    return f"`{results.command}`. {results.provenance}\n\n{tables(results, plots=plots)}"


def tables(results: Results, *, plots: str) -> str:
    """All of them, each with its plot in that folder, and what follows."""
    return "\n\n".join(
        [
            latency(results).markdown(),
            f"![Milliseconds of one request by hop]({plots}/{LATENCY_PLOT}.svg)",
            cpu(results).markdown(),
            f"![CPU time of one request by process]({plots}/{CPU_PLOT}.svg)",
            capacity(results).markdown(),
            findings(results),
        ]
    )


def _conditions(results: Results) -> str:
    guard = " and ".join(f"`{name}={value}`" for name, value in SETTINGS.items())
    return (
        f"The default mesh with {guard}, for all requests come from one address, and a key of the tier `bench`. "
        "Clients, mesh and model share the machine. Raw numbers: [results/hops.json](results/hops.json)."
    )


def latency(results: Results) -> Table:
    measured = results.latency
    made = Table(
        "Latency: one request at a time, ms",
        ("hop", *(case.case for case in measured)),
        note=f"Medians of {min(case.requests for case in measured)} requests each. A hop has the time in which it "
        "called nobody else; a way is what passes between two spans: sockets, HTTP, waiting for the other's event "
        "loop. A service's own calls begin in its row. `-`: most requests do not come there. A streamed request counts "
        "until its first delta; the way of that back is in the agent's row, for those behind it are still at work. The "
        "model is simulated and begins at once; its streams have five tokens, 50 a second.",
    )
    for hop in in_order(hop for case in measured for hop in case.hops):
        values = [case.hops.get(hop, 0) for case in measured]
        if any(values):
            made.rows.append((hop, *(_ms(value) if value else _NOTHING for value in values)))
    made.rows.append(_latency_row("sum of these medians", measured, lambda case: case.sum_ms))
    made.rows.append(_latency_row("median of the client", measured, lambda case: case.p50_ms))
    made.rows.append(_latency_row("... where no spans are made", measured, lambda case: case.p50_without_spans_ms))
    return made


def _latency_row(name: str, cases: Sequence[Latency], value: Callable[[Latency], float]) -> Sequence[Cell]:
    return (name, *(_ms(value(case)) for case in cases))


def _ms(value: float) -> str:
    return f"{value:.2f}"


def cpu(results: Results) -> Table:
    made = Table(
        "CPU: as many requests as there are answers to, µs of a core for each",
        ("process", *(case.case for case in results.cpu), "idle, µs a second"),
        note=f"{results.callers} callers in a closed loop for {results.seconds} s each, without spans; wrk for REST, "
        f"ghz for gRPC. Streams are read to their end. All processes of a service together; model: {results.model}. "
        "What the mesh takes when idle (health checks, supervision) is within the numbers. A bound is the cores "
        "divided by the sum: no scheduling can serve more on this machine.",
    )
    for service in SERVICES:
        values = [case.microseconds[service] for case in results.cpu]
        made.rows.append((service, *map(_whole, values), _whole(results.idle[service])))
    for name, value in _bottom(results.cores).items():
        made.rows.append((f"**{name}**", *(_whole(value(case)) for case in results.cpu), ""))
    return made


def _bottom(cores: int) -> Mapping[str, Callable[[Cpu], float]]:
    """The rows below the services'."""
    return {
        "sum": lambda case: sum(case.microseconds.values()),
        "of the mesh alone": _of_mesh,
        f"bound for {cores} cores, requests/s": lambda case: cores * _MICROSECONDS / sum(case.microseconds.values()),
        "bound for the mesh alone": lambda case: cores * _MICROSECONDS / _of_mesh(case),
        "measured, requests/s": lambda case: case.requests_per_second,
        "failed": lambda case: case.failed,
    }


def _of_mesh(case: Cpu) -> float:
    return sum(value for service, value in case.microseconds.items() if service not in OUTSIDE)


def _whole(value: float) -> str:
    return f"{value:.0f}"


def capacity(results: Results) -> Table:
    """By service what the CPU table says the other way round."""
    made = Table(
        "Requests/s that a core of each serves",
        ("process", *(case.case for case in results.cpu)),
        note="A limiter, gateway, agent or cache computes in one thread, so this is about the most that one replica "
        "serves, however many cores there are; Envoy computes in two. `-`: above 50,000, or not asked.",
    )
    for service in ("Envoy", *ONE_THREAD):
        made.rows.append((service, *(_rate(case.microseconds[service]) for case in results.cpu)))
    return made


def _rate(microseconds: float) -> str:
    return f"{_MICROSECONDS / microseconds:.0f}" if microseconds > _LEAST_MICROSECONDS else _NOTHING


def findings(results: Results) -> str:
    """What follows from the numbers, and nothing else."""
    full = [_first(case, results.replicas) for case in results.cpu]
    failures = [_failure(case) for case in results.cpu if case.failed]
    return "\n".join(f"- {sentence}" for sentence in [_looking(results), *full, *failures])


def _looking(results: Results) -> str:
    prices = [case.p50_ms - case.p50_without_spans_ms for case in results.latency]
    return (
        f"Making and sending spans changes the median request by {min(prices):+.1f} to {max(prices):+.1f} ms: the "
        "latency table tells shares, its last row what callers see."
    )


def _failure(case: Cpu) -> str:
    kinds = ", ".join(f"{kind} {count}" for kind, count in case.errors.items())
    return f"{case.case}: not answered well, and counted as requests: {kinds}."


def _first(case: Cpu, replicas: Mapping[str, int]) -> str:
    """Which service is full before the others, and which is next."""
    asked = [service for service in ONE_THREAD if case.microseconds[service] > _LEAST_MICROSECONDS]
    rates = {service: replicas[service] * _MICROSECONDS / case.microseconds[service] for service in asked}
    first, second = sorted(asked, key=rates.__getitem__)[:2]
    return (
        f"{case.case}: with a core for each process, {_count(replicas[first], first)} would be full first, at "
        f"{rates[first]:.0f} requests/s; then {_count(replicas[second], second)}, at {rates[second]:.0f}."
    )


def _count(number: int, service: str) -> str:
    return f"{number} {service}" if number == 1 else f"{number} {service}s"

"""The section of the results page about replicas."""

import statistics

from load.measuring.report import Table, spread
from load.replicas.results import FULL, LIGHT, MODEL_SECONDS, SLOTS, Cell, Results, Series, ratios

AIM_RATIO = 2.85
GROWTH_ALLOWED = 1.05
"""Of p99: less is the spread of the rounds."""
HONEST = (
    "On two cores this is honest only because replicas wait for their model and do not compute: it shows that nothing "
    "shared by the replicas (Envoy, the limiter, the cache, Redis) stands in their way. Replicas that compute need "
    "cores of their own."
)


def section(results: Results) -> str:
    """Markdown for the page of all results."""
    return "\n\n".join(
        [
            "## Replicas: how throughput grows",
            f"`make bench-replicas` (`{results.command}`). {results.provenance}",
            "![Throughput and p99 by the number of replicas](results/replicas.svg)",
            HONEST,
            table(results).markdown(),
            *([price(results).markdown()] if results.without_envoy(FULL) else []),
            findings(results),
        ]
    )


def table(results: Results) -> Table:
    made = Table(
        "One mesh, scaled by `shoal scale agent N`",
        ("load", "replicas", "calls/s, median", "lowest", "highest", "times one replica", "lowest", "highest",
         "p50, ms", "p95, ms", "p99, ms", "p99, lowest", "p99, highest", "errors"),
        note=f"In turns, rounds: {results.rounds}, each run {results.seconds:g} s long. The model is simulated and "
        f"answers after {1000 * MODEL_SECONDS:g} ms; a replica has {SLOTS} slots, so that one can serve "
        f"{SLOTS / MODEL_SECONDS:g} calls/s at most. Closed loop, with the same number of callers for each replica: "
        f"{FULL.workers_each} (every slot is taken and {FULL.workers_each - SLOTS} callers wait, which is in their "
        f"latency) or {LIGHT.workers_each} (nobody should wait). No task is asked twice and the cache is bypassed. A "
        "key of the tier `bench`; the front door's flood guard is set high. gRPC by ghz, REST by wrk. "
        "Calls that failed are counted as errors and not as served.",
    )  # fmt: skip
    for series in results.series:
        one = results.one(series)
        for cell in results.through_envoy(series):
            made.rows.append(
                (series.name, cell.replicas, *spread(cell.values("calls_per_second")),
                 *(spread(ratios(cell, one)) if one else ("-",) * 3),
                 statistics.median(cell.values("p50_ms")), statistics.median(cell.values("p95_ms")),
                 *spread(cell.values("p99_ms")), cell.failed)
            )  # fmt: skip
    return made


def price(results: Results) -> Table:
    """What the front door costs."""
    made = Table(
        "One replica, with Envoy and without",
        ("load", "asked", "calls/s, median", "p50, ms", "lowest", "highest", "p99, ms", "lowest", "highest"),
        note="Without: ghz calls the agent's own port with an identity that was signed before; with: Envoy, and the "
        "limiter's decision on the key. An agent answers ghz by grpc.aio, and Envoy over HTTP/1.1, which costs it less "
        "(docs/adr/0017): what stands between is a little more than the difference. Where callers wait for slots, a "
        "call that arrives later only waits less.",
    )
    for series in (FULL, LIGHT):
        for name, cell in (("the agent itself", results.without_envoy(series)), ("Envoy", results.one(series))):
            if cell:
                rate = statistics.median(cell.values("calls_per_second"))
                made.rows.append(
                    (series.name, name, rate, *spread(cell.values("p50_ms")), *spread(cell.values("p99_ms")))
                )
    return made


def findings(results: Results) -> str:
    """What follows from the numbers, and nothing else."""
    found = [sentence for series in results.series for sentence in _scaling(results, series)]
    if errors := results.errors:
        found.append(f"Errors: {', '.join(f'{count} {kind}' for kind, count in sorted(errors.items()))}.")
    direct, behind = results.without_envoy(LIGHT), results.one(LIGHT)
    if direct and behind:
        added = statistics.median(behind.values("p50_ms")) - statistics.median(direct.values("p50_ms"))
        found.append(f"Envoy and the limiter add {added:.1f} ms to the median call of an agent with free slots.")
    return "\n".join(f"- {sentence}" for sentence in found)


def _scaling(results: Results, series: Series) -> list[str]:
    one, three = results.one(series), results.three(series)
    if not (one and three):
        return []
    ratio = statistics.median(ratios(three, one))
    growth = _growth(three, one)
    return [
        f"{series.name}: three replicas serve {ratio:.2f} times what one serves (aim: {AIM_RATIO}; "
        f"{_met(ratio >= AIM_RATIO)}); their p99 is {growth:.2f} times that of one (aim: no growth, which is at most "
        f"{GROWTH_ALLOWED} here; {_met(growth <= GROWTH_ALLOWED)})."
    ]


def _growth(cell: Cell, one: Cell) -> float:
    return statistics.median(cell.values("p99_ms")) / statistics.median(one.values("p99_ms"))


def _met(is_met: bool) -> str:
    return "met" if is_met else "missed"

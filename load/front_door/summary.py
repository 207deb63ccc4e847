"""The section of the results page, and the remarks that follow from its numbers."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from load.front_door.measurement import SETTINGS
from load.front_door.plots import agents
from load.front_door.results import Results, Row
from load.front_door.scenario import Scenario
from load.front_door.tiers import TIERS
from load.measuring.report import Cell, Table, spread, text

_COLUMNS = (
    "model", "agents", "by", "callers", "at once", "answers/s, median", "lowest", "highest", "p50, ms", "p95, ms",
    "p99, ms", "answered", "not answered", "their limit lets pass",
)  # fmt: skip
_MISSING = "-"


def section(results: Results) -> str:
    """As Markdown. The plots are expected in results/ beside the page."""
    parts = ["## Load on the front door", _conditions(results), _remarks(results.rows), *_growth(results.rows)]
    for name, scenario in results.scenarios.items():
        if rows := [row for row in results.rows if row.scenario == name]:
            parts += [_table(scenario, rows).markdown(), f"![{scenario.title}](results/load-{name}.svg)"]
    return "\n\n".join(parts)


def _conditions(results: Results) -> str:
    guard = " and ".join(f"`{name}={value}`" for name, value in SETTINGS.items())
    return (
        f"`{results.command}`. {results.machine} Rounds: {results.rounds}; every second one goes backwards, so that "
        f"who was first comes last in the next. Each run lasts {results.seconds} s, by ghz over gRPC or by wrk over "
        "REST (POST /api/v1/task), in a closed loop: a caller asks again when it has its answer. Generators, mesh and "
        "model share the machine. In each round, each number of agents has a mesh of its own, begun with nothing, of "
        f"one gateway, limiter and cache, with {guard}, for all load comes from one address. Each run has keys with "
        "full buckets, and its new questions are no other run's. The scenarios are in [scenarios](scenarios), the raw "
        "numbers of each round in [results/load.json](results/load.json).\n\n"
        "Tables show medians over the rounds, and in their last three columns sums over them. Percentiles are of all "
        "answers, refusals too; where fewer calls were made than one needs, it is missing. wrk corrects its own for "
        "what a waiting caller does not ask meanwhile, ghz does not, so they are not alike. What is on its way when "
        "the time is over does not count. wrk cannot see into a stream: it counts whole ones."
    )


def _remarks(rows: Sequence[Row]) -> str:
    return "\n".join(f"- {remark}" for remark in (_limits(rows), _over(rows), _within(rows)) if remark)


def _limits(rows: Sequence[Row]) -> str:
    tiers = [TIERS[tier] for tier in dict.fromkeys(row.tier for row in rows)]
    sizes = [f"{each.name} {float(each.limit.rate_per_second):g} and {each.limit.capacity}" for each in tiers]
    return f"The limits of the keys, in requests per second and at once: {', '.join(sizes)}."


def _over(rows: Sequence[Row]) -> str:
    """What callers were given that asked for more than their limit."""
    over = [row for row in rows if row.asked > row.admits]
    if not over:
        return ""
    exceeded = sum(row.answered > row.admits for row in over)
    lowest, highest = (bound(row.answered - row.admits for row in over) for bound in (min, max))
    return (
        f"Callers that asked for more than rate x time + burst, in {len(over)} runs: given more in {exceeded} of them; "
        f"the difference was {lowest:+d} to {highest:+d} answers."
    )


def _within(rows: Sequence[Row]) -> str:
    within = [row for row in rows if row.asked <= row.admits]
    asked, answered = sum(row.asked for row in within), sum(row.answered for row in within)
    return f"Callers within their limit asked {asked} times, of which {asked - answered} were not answered well."


def _growth(rows: Sequence[Row]) -> list[str]:
    """A table, if there were several numbers of agents."""
    fewest, most = (bound(row.replicas for row in rows) for bound in (min, max))
    if fewest == most:
        return []
    rates: defaultdict[tuple[str, str, str, str, int], list[float]] = defaultdict(list)
    for row in rows:
        rates[row.scenario, row.callers, row.model, row.protocol, row.replicas].append(row.calls_per_second)
    ways = list(dict.fromkeys((row.model, row.protocol) for row in rows))
    title = f"Answers per second with {agents(most)}, as a multiple of those with {agents(fewest)}"
    table = Table(
        title,
        ("scenario", "callers", *(f"{model}, {protocol}" for model, protocol in ways)),
        note="Ratios within a round: the median, and in brackets the lowest and the highest.",
    )
    for run in dict.fromkeys((row.scenario, row.callers) for row in rows):
        multiples = [_multiple(rates[(*run, *way, most)], rates[(*run, *way, fewest)]) for way in ways]
        table.rows.append((*run, *multiples))
    return [table.markdown()]


def _multiple(many: Sequence[float], few: Sequence[float]) -> str:
    """Round by round; rounds without an answer from the few do not count."""
    ratios = [ours / theirs for ours, theirs in zip(many, few, strict=True) if theirs]
    if not ratios:
        return _MISSING
    median, lowest, highest = map(text, spread(ratios))
    return f"{median} ({lowest} to {highest})"


def _table(scenario: Scenario, rows: Sequence[Row]) -> Table:
    """A row for the same run of all rounds."""
    runs: defaultdict[tuple[str, int, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        runs[row.model, row.replicas, row.protocol, row.callers].append(row)
    note = " ".join(scenario.shows.split())
    return Table(scenario.title, _COLUMNS, note=note, rows=[_cells(alike) for alike in runs.values()])


def _cells(rows: Sequence[Row]) -> Sequence[Cell]:
    """Of one run in each round."""
    run, errors = rows[0], sum((Counter(row.errors) for row in rows), Counter[str]())
    return (
        run.model, run.replicas, run.protocol, run.callers, run.at_once,
        *spread([row.calls_per_second for row in rows]),
        _median(row.p50_ms for row in rows), _median(row.p95_ms for row in rows), _median(row.p99_ms for row in rows),
        sum(row.answered for row in rows),
        ", ".join(f"{kind}: {number}" for kind, number in errors.items()) or "0",
        sum(row.admits for row in rows),
    )  # fmt: skip


def _median(values: Iterable[float | None]) -> Cell:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return spread(known)[0] if known else _MISSING

"""The section of the results page: what was run, the aims, and all tables."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from load.measuring.report import Cell, Table, spread
from load.peers.aims import MIDDLE, Aim, aims
from load.peers.mesh import CONFIGURATIONS
from load.peers.plots import drawn
from load.peers.results import Called, Process, Results, Streamed

_BLANK = ""
_CALLS = ("", "at once", "per second, median", "lowest", "highest", "p50, ms", "p99, ms", "answered", "errors")

Row = TypeVar("Row", Called, Streamed)


def section(results: Results) -> str:
    """As Markdown. The plots are expected in results/ beside the page."""
    computed, cached = ([row for row in results.answers if row.kind == kind] for kind in ("computed", "cached"))
    tables = [
        _aims(results),
        _calls("Whole answers of the model", computed),
        _calls("Whole answers from the cache", cached),
        _streams(results.streams),
        _calls("Cached answers over gRPC", results.grpc),
        _processes(results.processes),
        _calls("Decisions of limiters", results.limiters),
    ]
    images = [f"![{title}](results/{name}.svg)" for name, title in drawn(results).items()]
    parts = ["## Beside the peers", _conditions(results), _who(results)]
    return "\n\n".join([*parts, *(table.markdown() for table in tables if table.rows), *images])


def _conditions(results: Results) -> str:
    return (
        f"`{results.command}`. {results.machine} Rounds: {results.rounds}; in each, everybody is started in a folder "
        "of its own, asked and stopped, one after the other; who was first comes last in the next. Each run lasts "
        f"{results.seconds} s in a closed loop, by wrk (whole answers), a client in Go (streams) or ghz (RPCs), "
        "after a second of warming up. Load, contender and mock share the machine. The mock takes no time and is the "
        "same behind everybody; its count of calls says that what is called cached was, and what is called computed "
        "was not. Tables show medians over the rounds. Everybody's settings, and how this differs from the public "
        "method that it follows, are in [peers/README.md](peers/README.md), the raw numbers in "
        "[results/peers.json](results/peers.json)."
    )


def _who(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    lines = [f"- Versions: {versions}."]
    lines += [f"- {name} is left out: {reason}." for name, reason in results.left_out.items()]
    lines += [f"- Set aside: {run}." for run in results.set_aside]
    for name, settings in CONFIGURATIONS.items():
        lines.append(f"- {name}: `shoal up` with {', '.join(f'`{key}={value}`' for key, value in settings.items())}.")
    return "\n".join(lines)


def _aims(results: Results) -> Table:
    table = Table(
        "The aims, as ratios within a round",
        ("", "what", "against", "aim", "each at its best, median", "lowest", "highest", f"{MIDDLE} at once, median",
         "verdict"),
        note="The best is over the numbers at once of the tables below. A verdict is by the median at the best.",
    )  # fmt: skip
    measured = {row.contender for row in results.processes}
    for shoal in (name for name in CONFIGURATIONS if name in measured):
        table.rows += [_aim(shoal, aim) for aim in aims(results, shoal)]
    return table


def _aim(shoal: str, aim: Aim) -> Sequence[Cell]:
    best: Sequence[Cell] = spread(aim.best) if aim.best else [_BLANK] * 3
    goal = f"{'at most' if aim.is_at_most else 'at least'} {aim.goal:.2g}"
    return (shoal, aim.what, aim.against, goal, *best, _median(aim.middle), aim.verdict)


def _calls(title: str, rows: Sequence[Called]) -> Table:
    table = Table(title, _CALLS)
    for (name, at_once), group in _grouped(rows):
        latencies = _median(row.p50_ms for row in group), _median(row.p99_ms for row in group)
        answered, errors = sum(row.answered for row in group), _errors(row.errors for row in group)
        table.rows.append((name, at_once, *spread([row.per_second for row in group]), *latencies, answered, errors))
    return table


def _streams(rows: Sequence[Streamed]) -> Table:
    table = Table(
        "Streamed answers",
        ("", "at once", "deltas/s, median", "lowest", "highest", "events/s", "first delta p50, ms", "p99, ms",
         "gap p50, ms", "p99, ms", "streams", "failed"),
        note="Deltas are the model's, 60 a stream, also where several come in one event. A gap is between two events.",
    )  # fmt: skip
    for (name, at_once), group in _grouped(rows):
        table.rows.append(
            (
                name,
                at_once,
                *spread([row.deltas_per_second for row in group]),
                _median(row.events_per_second for row in group),
                *(_median(row.first_p50_ms for row in group), _median(row.first_p99_ms for row in group)),
                *(_median(row.gap_p50_ms for row in group), _median(row.gap_p99_ms for row in group)),
                sum(row.streams for row in group),
                sum(row.failures for row in group),
            )
        )
    return table


def _processes(rows: Sequence[Process]) -> Table:
    table = Table(
        "Start and memory",
        ("", "start to first answer, s, median", "lowest", "highest", "processes", "RSS, MB", "PSS, MB",
         "PSS of Python, MB"),
        note="Memory is the most that was seen under load; the Redis that LiteLLM caches in is not counted for it.",
    )  # fmt: skip
    for name in dict.fromkeys(row.contender for row in rows):
        group = [row for row in rows if row.contender == name]
        memory = [row.memory for row in group]
        table.rows.append(
            (
                name,
                *spread([row.first_answer_seconds for row in group]),
                max(each.processes for each in memory),
                *(_median(each.rss for each in memory), _median(each.pss for each in memory)),
                _median(each.python_pss for each in memory),
            )
        )
    return table


def _grouped(rows: Sequence[Row]) -> list[tuple[tuple[str, int], list[Row]]]:
    """By contender and number at once; each contender's together, in the order of their first row."""
    names = list(dict.fromkeys(row.contender for row in rows))
    keys = sorted({(row.contender, row.at_once) for row in rows}, key=lambda key: (names.index(key[0]), key[1]))
    return [(key, [row for row in rows if (row.contender, row.at_once) == key]) for key in keys]


def _median(values: Iterable[float | None]) -> Cell:
    """Blank if there are none."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else _BLANK


def _errors(errors: Iterable[dict[str, int]]) -> str:
    total = Counter[str]()
    for each in errors:
        total.update(each)
    return ", ".join(f"{kind}: {number}" for kind, number in total.items()) or "0"

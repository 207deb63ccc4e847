"""The plots: a group of bars for each number at once, a bar for each contender."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from matplotlib.axes import Axes

from load.peers.aims import MOCK
from load.peers.results import Answered, Called, Process, Results, Streamed
from load.plots import figure

PLOTS: Mapping[str, str] = MappingProxyType(
    {
        "peers-computed": "Whole answers of the model",
        "peers-cached": "Whole answers from the cache",
        "peers-streams": "Streamed answers",
        "peers-processes": "Start and memory",
        "peers-limiters": "Decisions of limiters",
    }
)
"""Titles by the names of their files."""
_NOTE = "Closed loop. Load, contender and mock share one machine. Medians, with the lowest and the highest round."

Row = TypeVar("Row", Called, Streamed)
Shown = TypeVar("Shown", Answered, Streamed, Process)
Measure = tuple[str, Callable[[Row], float | None]]


def drawn(results: Results) -> dict[str, str]:
    """Those of PLOTS that have something to show."""
    kinds = {f"peers-{row.kind}" for row in _without_mock(results.answers)}
    others = {
        "peers-streams": _without_mock(results.streams),
        "peers-processes": _without_mock(results.processes),
        "peers-limiters": results.limiters,
    }
    names = kinds | {name for name, rows in others.items() if rows}
    return {name: title for name, title in PLOTS.items() if name in names}


def save(results: Results, folder: Path) -> None:
    """Writes those that are drawn, as SVG and PNG."""
    for kind in ("computed", "cached"):
        rows = [row for row in _without_mock(results.answers) if row.kind == kind]
        _by_number(f"peers-{kind}", rows, _rates("answers per second"), folder)
    measures: list[Measure[Streamed]] = [
        ("deltas per second", lambda row: row.deltas_per_second),
        ("first delta, p50, ms", lambda row: row.first_p50_ms),
    ]
    _by_number("peers-streams", _without_mock(results.streams), measures, folder)
    _by_number("peers-limiters", results.limiters, _rates("decisions per second"), folder)
    _processes(_without_mock(results.processes), folder)


def _without_mock(rows: Sequence[Shown]) -> list[Shown]:
    """The mock by itself is in the tables: it would dwarf the others."""
    return [row for row in rows if row.contender != MOCK]


def _rates(unit: str) -> list[Measure[Called]]:
    rate: Measure[Called] = (unit, lambda row: row.per_second)
    return [rate, ("p50, ms", lambda row: row.p50_ms), ("p99, ms", lambda row: row.p99_ms)]


def _by_number(name: str, rows: Sequence[Row], measures: Sequence[Measure[Row]], folder: Path) -> None:
    if not rows:
        return
    made, places = figure.figure(PLOTS[name], rows=len(measures))
    numbers = sorted({row.at_once for row in rows})
    for axes, (unit, measure) in zip(places, measures, strict=True):
        series = {
            contender: [_values(rows, contender, number, measure) for number in numbers]
            for contender in dict.fromkeys(row.contender for row in rows)
        }
        figure.bars(axes, [f"{number} at once" for number in numbers], series, unit=unit)
    figure.note(made, _NOTE)
    figure.save(made, folder, name)


def _values(rows: Sequence[Row], contender: str, number: int, measure: Callable[[Row], float | None]) -> list[float]:
    measured = [measure(row) for row in rows if (row.contender, row.at_once) == (contender, number)]
    return [value for value in measured if value is not None]


def _processes(rows: Sequence[Process], folder: Path) -> None:
    if not rows:
        return
    made, places = figure.figure(PLOTS["peers-processes"], columns=2)
    names = list(dict.fromkeys(row.contender for row in rows))
    _one_group(places[0], {n: [r.first_answer_seconds for r in rows if r.contender == n] for n in names}, "s", "start")
    _one_group(places[1], {n: [r.memory.pss for r in rows if r.contender == n] for n in names}, "PSS, MB", "memory")
    figure.note(made, _NOTE)
    figure.save(made, folder, "peers-processes")


def _one_group(axes: Axes, values: Mapping[str, Sequence[float]], unit: str, name: str) -> None:
    figure.bars(axes, [name], {contender: [each] for contender, each in values.items()}, unit=unit)

"""A plot for each scenario."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from load.front_door.results import Results, Row
from load.plots import figure

_MEASURES: Sequence[tuple[str, Callable[[Row], float | None]]] = (
    ("answers per second", lambda row: row.calls_per_second),
    ("p50, ms", lambda row: row.p50_ms),
    ("p99, ms", lambda row: row.p99_ms),
)
_NOTE = "Closed loop. Generators, mesh and model share one machine. Medians, with the lowest and the highest round."


def save(results: Results, folder: Path) -> None:
    """Writes load-NAME.svg and load-NAME.png for each scenario."""
    for name in results.scenarios:
        if rows := [row for row in results.rows if row.scenario == name]:
            _save(results.scenarios[name].title, rows, folder, name)


def _save(title: str, rows: Sequence[Row], folder: Path, name: str) -> None:
    """A row of charts for each measure, a column for each model."""
    models = list(dict.fromkeys(row.model for row in rows))
    made, places = figure.figure(title, rows=len(_MEASURES), columns=len(models))
    spots = iter(places)
    for unit, measure in _MEASURES:
        for model in models:
            _draw(next(spots), [row for row in rows if row.model == model], unit, measure)
    for axes, model in zip(places, models, strict=False):
        axes.set_title(f"{model} model", fontsize=10)
    figure.note(made, _NOTE)
    figure.save(made, folder, f"load-{name}")


def _draw(axes: Axes, rows: Sequence[Row], unit: str, measure: Callable[[Row], float | None]) -> None:
    """A group of bars for each protocol and kind of callers, a bar for each number of agents, over all rounds."""
    groups = list(dict.fromkeys(map(_group, rows)))
    values: dict[str, list[list[float]]] = {}
    for replicas in dict.fromkeys(row.replicas for row in rows):
        alike = [row for row in rows if row.replicas == replicas]
        values[agents(replicas)] = [_known(measure(row) for row in alike if _group(row) == group) for group in groups]
    if not any(itertools.chain(*values.values())):
        axes.set_axis_off()
        axes.text(0.5, 0.5, f"too few answers for {unit}", ha="center", transform=axes.transAxes, color="#555555")
        return
    figure.bars(axes, [f"{protocol}\n{callers}" for protocol, callers in groups], values, unit=unit)
    # Room for the legend; and for the last group, where it has no bar.
    axes.margins(y=0.25)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.tick_params(axis="x", labelsize=7)


def _group(row: Row) -> tuple[str, str]:
    return row.protocol, row.callers


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def agents(replicas: int) -> str:
    return f"{replicas} agent" if replicas == 1 else f"{replicas} agents"

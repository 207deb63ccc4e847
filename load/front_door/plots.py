"""A plot for each scenario."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from load.front_door.results import Results, Row
from load.plots import figure

_MEASURES: Sequence[tuple[str, Callable[[Row], float | None]]] = (
    ("answers per second", lambda row: row.calls_per_second),
    ("p50, ms", lambda row: row.p50_ms),
    ("p99, ms", lambda row: row.p99_ms),
)


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
    figure.note(made, "Closed loop. Generators, mesh and model share one machine.")
    figure.save(made, folder, f"load-{name}")


def _draw(axes: Axes, rows: Sequence[Row], unit: str, measure: Callable[[Row], float | None]) -> None:
    """A group of bars for each protocol and kind of callers, a bar for each number of agents."""
    groups = list(dict.fromkeys((row.protocol, row.callers) for row in rows))
    values: dict[str, list[list[float]]] = {}
    for replicas in dict.fromkeys(row.replicas for row in rows):
        found = {(row.protocol, row.callers): measure(row) for row in rows if row.replicas == replicas}
        values[agents(replicas)] = [[value] if (value := found.get(group)) is not None else [] for group in groups]
    if not any(itertools.chain(*values.values())):
        axes.set_axis_off()
        axes.text(0.5, 0.5, f"too few answers for {unit}", ha="center", transform=axes.transAxes, color="#555555")
        return
    figure.bars(axes, [f"{protocol}\n{callers}" for protocol, callers in groups], values, unit=unit)
    # Room for the legend; and for the last group, where it has no bar.
    axes.margins(y=0.25)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.tick_params(axis="x", labelsize=7)


def agents(replicas: int) -> str:
    return f"{replicas} agent" if replicas == 1 else f"{replicas} agents"

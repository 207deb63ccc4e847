"""Figures: their style, their charts, and how they are kept as SVG and PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from load.measuring.report import spread

COLOURS = (
    "#1f4e79", "#d9822b", "#3a8a5f", "#a23b52", "#6b5b95", "#7f7f7f", "#17a2b8", "#8c6d31", "#e377c2", "#222222",
    "#9acd32", "#5a2d0c",
)  # fmt: skip
"""Of the series of a chart, in their order; they begin again after the last."""
_QUIET = "#9a9a9a"
_WIDTH_INCHES, _ROW_INCHES = 9.0, 3.4
_DOTS_PER_INCH = 110
_BARS_OF_A_GROUP = 0.8
"""How much of the place of a group its bars take."""


def figure(title: str, *, rows: int = 1, columns: int = 1, share_x: bool = False) -> tuple[Figure, list[Axes]]:
    """An empty figure and its axes, row by row. `share_x` is for rows over the same time."""
    made = Figure(figsize=(_WIDTH_INCHES, 0.6 + _ROW_INCHES * rows), layout="constrained")
    FigureCanvasAgg(made)
    made.suptitle(title, fontsize=12)
    grid = made.subplots(rows, columns, squeeze=False, sharex="col" if share_x else "none")
    places: list[Axes] = list(grid.flat)
    for axes in places:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
        axes.set_axisbelow(True)
    return made, places


def bars(axes: Axes, groups: Sequence[str], series: Mapping[str, Sequence[Sequence[float]]], *, unit: str) -> None:
    """Bars side by side in each group: the medians, with whiskers from the lowest to the highest value.

    `series` has by name the values of each group, in the order of the groups; one without values has no bar.
    """
    width = _BARS_OF_A_GROUP / len(series)
    for number, (name, values_of_groups) in enumerate(series.items()):
        places = [at + (number - (len(series) - 1) / 2) * width for at in range(len(groups))]
        measured = [(place, values) for place, values in zip(places, values_of_groups, strict=True) if values]
        axes.bar(
            [place for place, _ in measured],
            [spread(values)[0] for _, values in measured],
            width,
            yerr=_whiskers([values for _, values in measured]),
            label=name,
            color=colour(number),
            error_kw={"elinewidth": 1, "capsize": 2},
        )
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel(unit)
    _legend(axes, len(series))


def lines(
    axes: Axes,
    x: Sequence[float],
    series: Mapping[str, Sequence[Sequence[float]]],
    *,
    x_label: str,
    unit: str,
    ideal: Sequence[float] | None = None,
) -> None:
    """A line for each series through the medians at each x, with whiskers from the lowest to the highest value.

    `ideal` is a dashed line for comparison. Both axes show zero, so that a slope is not larger than it is.
    """
    if ideal is not None:
        axes.plot(x, ideal, "--", color=_QUIET, label="ideal")
    for number, (name, values_of_x) in enumerate(series.items()):
        medians = [spread(values)[0] for values in values_of_x]
        axes.errorbar(x, medians, yerr=_whiskers(values_of_x), marker="o", capsize=3, label=name, color=colour(number))
    axes.set_xticks(list(x), [f"{at:g}" for at in x])
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(x_label)
    axes.set_ylabel(unit)
    _legend(axes, len(series) + (ideal is not None))


def point(axes: Axes, name: str, x: float, values: Sequence[float], *, number: int) -> None:
    """A single diamond for comparison, in the colour of that number; it has no line."""
    axes.errorbar(
        [x], [spread(values)[0]], yerr=_whiskers([values]), marker="D", capsize=3, label=name, color=colour(number),
        linestyle="none", markerfacecolor="white", zorder=4,
    )  # fmt: skip
    _legend(axes, len(axes.get_legend_handles_labels()[1]))


def time_series(axes: Axes, name: str, seconds: Sequence[float], values: Sequence[float], *, number: int) -> None:
    """A line over time, in minutes, in the colour of that number. NaN is a gap."""
    axes.plot([at / 60 for at in seconds], values, linewidth=1.1, label=name, color=colour(number))


def marks(axes: Axes, seconds: Sequence[float]) -> None:
    """Thin vertical lines at these times."""
    for at in seconds:
        axes.axvline(at / 60, color=_QUIET, linewidth=0.7, linestyle=":")


def side_legend(axes: Axes) -> None:
    """The names of many lines, beside the chart instead of on it."""
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)


def colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def note(made: Figure, text: str) -> None:
    """A line below everything, that says what a reader must know."""
    made.supxlabel(text, fontsize=8, color="#555555")


def save(made: Figure, folder: Path, name: str) -> None:
    """Writes NAME.svg and NAME.png. The same figure gives the same bytes: no date, and no random ids."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "shoal"}):
        made.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
        made.savefig(folder / f"{name}.png", dpi=_DOTS_PER_INCH, metadata={"Software": None})


def _whiskers(values: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    """How far the lowest and the highest value are from the median."""
    spreads = [spread(each) for each in values]
    return [median - lowest for median, lowest, _ in spreads], [highest - median for median, _, highest in spreads]


def _legend(axes: Axes, entries: int) -> None:
    if entries > 1:
        axes.legend(fontsize=8, frameon=False)

"""Where the time goes, as bars of which each hop has a part."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from load.hops.attribution import CLIENT_HOP, FRONT_HOP, INNER_HOP, WAY, in_order
from load.hops.cpu import SERVICES
from load.hops.report import CPU_PLOT, LATENCY_PLOT
from load.hops.results import Results
from load.plots import figure

_PALE = 0.45
"""The opacity of a way, which has the colour of the service that it leads to."""
_COLOURED = ("Envoy", "limiter", "gateway", "agent", "cache", "client", "model", "Valkey")
_BESIDE = {CLIENT_HOP: "client", FRONT_HOP: "Envoy", INNER_HOP: "Envoy", "load generator": "client"}
_LAUNCHER = "#444444"


def save(results: Results, folder: Path) -> None:
    """Writes a plot of each view."""
    hops = {case.case: case.hops for case in results.latency}
    parts = in_order(hop for of_case in hops.values() for hop in of_case)
    _save(hops, parts, "One request at a time, ms by hop", "ms, medians; with spans", folder, LATENCY_PLOT)
    processes = {case.case: case.microseconds for case in results.cpu}
    title = "CPU time of one request in a closed loop, µs by process"
    _save(processes, SERVICES, title, "µs of a core", folder, CPU_PLOT)


def _save(
    values: Mapping[str, Mapping[str, float]], parts: Sequence[str], title: str, unit: str, folder: Path, name: str
) -> None:
    made, [axes] = figure.figure(title)
    _stack(axes, values, [part for part in parts if any(of_case.get(part) for of_case in values.values())])
    axes.set_xlabel(unit)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.8)
    figure.side_legend(axes)
    figure.save(made, folder, name)


def _stack(axes: Axes, values: Mapping[str, Mapping[str, float]], parts: Sequence[str]) -> None:
    """A bar for each case, the first on top."""
    ends = [0.0] * len(values)
    for part in parts:
        widths = [of_case.get(part, 0.0) for of_case in values.values()]
        axes.barh(list(values), widths, left=ends, label=part, color=_colour(part), edgecolor="white", linewidth=0.5)
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    axes.invert_yaxis()


def _colour(part: str) -> tuple[str, float]:
    """With its opacity."""
    ways = {WAY.format(service): service for service in _COLOURED}
    service = ways.get(part, _BESIDE.get(part, part))
    colour = figure.colour(_COLOURED.index(service)) if service in _COLOURED else _LAUNCHER
    return colour, _PALE if part in ways or part == INNER_HOP else 1.0

"""The plot of a soak: memory and descriptors by service, calls a second, and the changes as vertical lines."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from load.plots import figure
from load.soak.record import ProcessSample, Sample, Soak
from load.soak.tally import Outcome

_MIB = 2**20


def draw(soak: Soak, folder: Path) -> None:
    """Writes soak.svg and soak.png."""
    made, [memory, descriptors, calls] = figure.figure(f"A soak of {soak.minutes:g} minutes", rows=3, share_x=True)
    seconds = [sample.seconds for sample in soak.samples]
    services = list(dict.fromkeys(process.service for sample in soak.samples for process in sample.processes))
    for number, service in enumerate(services):
        figure.time_series(
            memory, service, seconds, _held(soak, service, lambda process: process.rss_bytes / _MIB), number=number
        )
        figure.time_series(
            descriptors, service, seconds, _held(soak, service, lambda process: process.descriptors), number=number
        )
    for number, outcome in enumerate(Outcome):
        figure.time_series(calls, outcome, seconds, _rates(soak.samples, outcome), number=number)
    for axes, label in ((memory, "RSS, MiB"), (descriptors, "descriptors"), (calls, "calls/s")):
        axes.set_ylim(bottom=0)
        axes.set_ylabel(label)
        figure.marks(axes, [change.began for change in soak.changes])
        figure.side_legend(axes)
    _name_changes(memory, soak)
    calls.set_xlabel("minutes")
    figure.note(made, "Sums over the processes of a service. Dotted: a service is restarted, or an agent killed.")
    figure.save(made, folder, "soak")


def _name_changes(axes: Axes, soak: Soak) -> None:
    for change in soak.changes:
        where = axes.get_xaxis_transform()
        axes.text(
            change.began / 60, 1.01, change.what, rotation=35, fontsize=7, ha="left", va="bottom", transform=where
        )


def _held(soak: Soak, service: str, value: Callable[[ProcessSample], float]) -> list[float]:
    """By all processes of a service together, at each moment; NaN where there is none."""
    held = [[value(process) for process in sample.processes if process.service == service] for sample in soak.samples]
    return [sum(values) if values else math.nan for values in held]


def _rates(samples: Sequence[Sample], outcome: str) -> list[float]:
    """Calls a second with that outcome, since the sample before."""
    rates = [
        (after.outcomes.get(outcome, 0) - before.outcomes.get(outcome, 0)) / (after.seconds - before.seconds)
        for before, after in itertools.pairwise(samples)
    ]
    return [math.nan, *rates]

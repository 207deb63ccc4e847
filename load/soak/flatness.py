"""Whether what a process holds stays where it is: a straight line through its samples, after a warm-up.

A process is judged from the second `since` of the soak on, without the first `warm_up` seconds of its life, if at least
`least` seconds are left of it: what is restarted beside it changes what it holds, once, and is no leak. Least squares
give the line; what it rises by from the first to the last judged sample is the growth. Memory (RSS) is flat if it grows
by no more than 1 % of its median or 0.5 MiB, descriptors if they grow by no more than 2.5 % or 1; falling is flat.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from load.soak.record import ProcessSample, Sample

MEMORY_SHARE, MEMORY_BYTES = 0.01, 2**19
DESCRIPTORS_SHARE, DESCRIPTORS = 0.025, 1.0

Points = Sequence[tuple[float, float]]
"""Seconds and values."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a process held while it was judged."""

    median: float
    growth: float
    """From the first to the last sample, as the fitted line has it."""

    @classmethod
    def through(cls, points: Points) -> "Line":
        """Raises StatisticsError for fewer than two moments."""
        seconds, values = zip(*points, strict=True)
        slope = statistics.linear_regression(seconds, values).slope
        return cls(statistics.median(values), slope * (seconds[-1] - seconds[0]))


@dataclass(frozen=True, slots=True)
class Life:
    """A process as it was judged."""

    name: str
    service: str
    pid: int
    seconds: float
    """How long it was judged."""
    memory: Line
    descriptors: Line

    @property
    def memory_is_flat(self) -> bool:
        return self.memory.growth <= max(MEMORY_SHARE * self.memory.median, MEMORY_BYTES)

    @property
    def descriptors_are_flat(self) -> bool:
        return self.descriptors.growth <= max(DESCRIPTORS_SHARE * self.descriptors.median, DESCRIPTORS)


def lives(samples: Sequence[Sample], *, since: float, warm_up: float, least: float) -> list[Life]:
    """Every process that lived long enough, by service and name."""
    found = list(_lives(samples, since, warm_up, least))
    return sorted(found, key=lambda life: (life.service, life.name, life.pid))


def _lives(samples: Sequence[Sample], since: float, warm_up: float, least: float) -> Iterator[Life]:
    seen = [(sample.seconds, process) for sample in samples for process in sample.processes]
    seen.sort(key=lambda entry: (entry[1].name, entry[1].pid, entry[0]))
    for (name, pid), entries in itertools.groupby(seen, key=lambda entry: (entry[1].name, entry[1].pid)):
        life = list(entries)
        judged = [(at, process) for at, process in life if at >= max(since, life[0][0] + warm_up)]
        if len(judged) < 2 or judged[-1][0] - judged[0][0] < least:
            continue
        memory = _line(judged, lambda process: process.rss_bytes)
        descriptors = _line(judged, lambda process: process.descriptors)
        yield Life(name, judged[0][1].service, pid, judged[-1][0] - judged[0][0], memory, descriptors)


def _line(judged: Sequence[tuple[float, ProcessSample]], value: Callable[[ProcessSample], float]) -> Line:
    return Line.through([(at, value(process)) for at, process in judged])

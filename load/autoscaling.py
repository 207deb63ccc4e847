"""A day of traffic against the autoscaling rule, calculated in seconds: `python -m load.autoscaling`."""

import argparse
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from launcher.fleet.autoscaling import ABOVE, BELOW, Autoscaler, Bounds

SLOTS, QUEUE = 128, 64
"""Of each replica, as by default."""
TURN_SECONDS = 20.0
START_SECONDS = 10.0
"""From the decision until a new replica takes calls."""
SAMPLE_SECONDS = 5
DAY_SECONDS = 86_400

HOURLY = (
    60,
    45,
    40,
    40,
    45,
    70,
    140,
    280,
    450,
    600,
    680,
    700,
    600,
    480,
    600,
    700,
    720,
    640,
    500,
    420,
    360,
    260,
    160,
    90,
)
"""Turns in progress that each hour begins with, if none is refused. A workday with its lunch."""
SPIKES = ((10 * 3600 + 2400, 600, 1.5), (20 * 3600 + 900, 300, 2.5))
"""When, for how many seconds and how many times the traffic: a busy quarter of an hour, and five minutes of fame."""
NOISE, NOISE_KEPT = 0.10, 0.98
"""Relative, and how much of it is left a second later."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the rule saw, every five seconds."""

    replicas: int
    utilisation: float
    load: float
    """Turns in progress that the traffic of this moment needs."""


@dataclass(slots=True)
class Day:
    """What came of it."""

    bounds: Bounds
    samples: list[Sample] = field(default_factory=list)
    arrived: float = 0.0
    refused: float = 0.0

    @property
    def changes(self) -> list[int]:
        """By how many replicas, each time."""
        pairs = itertools.pairwise(self.samples)
        return [after.replicas - before.replicas for before, after in pairs if after.replicas != before.replicas]

    @property
    def in_band(self) -> float:
        """The share of the time between the two thresholds, or beyond one that the bounds forbid to act on."""
        return sum(map(self._is_fine, self.samples)) / len(self.samples)

    def _is_fine(self, sample: Sample) -> bool:
        if sample.utilisation > ABOVE:
            return sample.replicas == self.bounds.most
        return sample.utilisation >= BELOW or sample.replicas == self.bounds.least


class Replicas:
    """The pool as a whole: calls are spread evenly, and so it is full when all of it is."""

    def __init__(self, replicas: int, chance: random.Random) -> None:
        self.wanted = replicas
        self._serving = replicas
        self._starting: list[float] = []
        self._running = 0.0
        self._waiting = 0.0
        self._chance = chance

    @property
    def utilisation(self) -> float:
        return (self._running + self._waiting) / (self._serving * SLOTS)

    def scale(self, wanted: int, now: float) -> None:
        """New ones serve after their start; who leaves takes its share of the running turns along."""
        if wanted > self.wanted:
            self._starting += [now + START_SECONDS] * (wanted - self.wanted)
        else:
            self._running *= wanted / self._serving
            self._serving = wanted
        self.wanted = wanted

    def second(self, load: float, now: float) -> tuple[float, float]:
        """Lets a second pass. Returns how many turns arrived, and how many of them were refused."""
        self._serving += sum(ready <= now for ready in self._starting)
        self._starting = [ready for ready in self._starting if ready > now]
        self._running -= min(self._running, self._drawn(self._running / TURN_SECONDS))
        arrived = self._drawn(load / TURN_SECONDS)
        here = self._running + self._waiting + arrived
        self._running = min(here, self._serving * SLOTS)
        self._waiting = min(here - self._running, self._serving * QUEUE)
        return arrived, here - self._running - self._waiting

    def _drawn(self, mean: float) -> float:
        """A Poisson variable, near enough."""
        return max(0.0, self._chance.gauss(mean, math.sqrt(mean)))


def day(bounds: Bounds, *, seed: int) -> Day:
    """One day from midnight to midnight, always the same for the same seed."""
    chance = random.Random(seed)
    result, rule, pool = Day(bounds), Autoscaler(bounds), Replicas(bounds.least, chance)
    for now, load in enumerate(_loads(chance)):
        arrived, refused = pool.second(load, now)
        result.arrived += arrived
        result.refused += refused
        if now % SAMPLE_SECONDS == 0:
            result.samples.append(Sample(pool.wanted, pool.utilisation, load))
            wanted = rule.observe(pool.utilisation, pool.wanted, now)
            if wanted != pool.wanted:
                pool.scale(wanted, now)
    return result


def _loads(chance: random.Random) -> Iterator[float]:
    """The load of each second of the day."""
    noise = 0.0
    for now in range(DAY_SECONDS):
        noise = NOISE_KEPT * noise + chance.gauss(0, NOISE * math.sqrt(1 - NOISE_KEPT**2))
        yield max(0.0, _expected(now) * (1 + noise))


def _expected(now: int) -> float:
    hour, passed = divmod(now, 3600)
    before, after = HOURLY[hour], HOURLY[(hour + 1) % 24]
    spike = math.prod(times for start, seconds, times in SPIKES if start <= now < start + seconds)
    return (before + (after - before) * passed / 3600) * spike


def plot(result: Day, *, columns: int = 72) -> str:
    """The day as text: `*` is the load in replicas' worth of slots, `:` the replicas above it."""
    size = len(result.samples) // columns
    slices = [result.samples[at * size : (at + 1) * size] for at in range(columns)]
    # Of each slice the worst moment: the highest load, and the fewest replicas.
    loads = [math.ceil(max(sample.load for sample in part) / SLOTS) for part in slices]
    pools = [min(sample.replicas for sample in part) for part in slices]
    rows = range(max(*loads, *pools), 0, -1)
    lines = [f"{row:4} |" + "".join(map(_mark, loads, pools, [row] * columns)).rstrip() for row in rows]
    hours = "".join(f"{hour:02}h".ljust(columns // 8) for hour in range(0, 24, 3)).rstrip()
    return "\n".join([*lines, "     +" + "-" * columns, "      " + hours])


def _mark(load: int, replicas: int, row: int) -> str:
    if row == load:
        return "*"
    return ":" if row <= replicas else " "


def summary(result: Day) -> str:
    """What was measured, in sentences."""
    added = sum(change > 0 for change in result.changes)
    counts = [sample.replicas for sample in result.samples]
    return f"""\
{result.arrived:,.0f} turns, {result.refused:,.0f} of them refused ({result.refused / result.arrived:.2%})
{min(counts)} to {max(counts)} replicas, {sum(counts) / len(counts):.1f} on average
{len(result.changes)} changes: {added} up, {len(result.changes) - added} down
{result.in_band:.1%} of the time between {BELOW:.0%} and {ABOVE:.0%}, or at a bound"""


def main() -> None:
    """Prints a day."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--autoscale", type=Bounds.parse, default="agent=2..8", metavar="agent=LEAST..MOST")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    result = day(arguments.autoscale, seed=arguments.seed)
    print(plot(result), summary(result), sep="\n\n")


if __name__ == "__main__":
    main()

"""gRPC services measured in turns with an empty RPC, so that all meet the same moods of the machine."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from load.measuring import ghz
from load.measuring.ghz import Call
from load.measuring.progress import say
from load.measuring.report import Table, spread
from load.measuring.speed import Load, Speed


@dataclass(frozen=True, slots=True)
class Target:
    """Somebody who is called."""

    address: str
    call: Call


async def once(generator: str, targets: Mapping[str, Target], load: Load) -> dict[str, Speed]:
    """Each of the targets under the load, one after the other. Raises MeasurementError."""
    return {name: await ghz.measure(generator, target.address, target.call, load) for name, target in targets.items()}


async def in_turns(generator: str, targets: Mapping[str, Target], load: Load, *, rounds: int) -> dict[str, list[Speed]]:
    """All of them once in each round. Raises MeasurementError."""
    measured: dict[str, list[Speed]] = {name: [] for name in targets}
    for number in range(1, rounds + 1):
        say(f"speed: round {number} of {rounds}")
        for name, speed in (await once(generator, targets, load)).items():
            measured[name].append(speed)
    return measured


def comparison(title: str, what: str, measured: Mapping[str, Sequence[Speed]], *, empty: str, note: str) -> Table:
    """The speeds, and what share each is of the target named `empty` in the same round. `what` is the first column."""
    table = Table(
        title,
        (what, "calls/s, median", "lowest", "highest", "of the empty RPC, median", "lowest", "highest",
         "p50, ms", "p99, ms"),
        note=note,
    )  # fmt: skip
    for name, speeds in measured.items():
        rates = [speed.calls_per_second for speed in speeds]
        shares = [rate / least.calls_per_second for rate, least in zip(rates, measured[empty], strict=True)]
        p50 = statistics.median(speed.p50_ms for speed in speeds)
        p99 = statistics.median(speed.p99_ms for speed in speeds)
        table.rows.append((name, *spread(rates), *spread(shares), p50, p99))
    return table


def conditions(load: Load, rounds: int) -> str:
    """How it was measured, for the note of a table."""
    return (
        f"{load.calls} calls a round by {load.workers} workers over {load.connections} connections, in turns, rounds: "
        f"{rounds}. Each share is of the empty RPC in the same round."
    )

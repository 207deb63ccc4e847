"""The command `python -m load.soak`."""

from functools import partial
from pathlib import Path

import click

from load.measuring import command, results_page
from load.measuring.report import provenance
from load.soak import plot, report
from load.soak.record import Soak
from load.soak.soaking import soaked


@click.command(context_settings={"show_default": True})
@click.option("--minutes", type=click.FloatRange(1, 24 * 60), default=30.0, help="How long it goes on.")
@results_page.option
def main(minutes: float, page: Path) -> None:
    """Use a mesh in every way for a while, and see whether its memory and descriptors stay where they are.

    Starts a simulated model and a mesh of its own on free ports of this machine: three agents, two gateways. About 35
    calls a second: cached and computed answers, streams, sessions, streams that are cancelled, a tenant above its
    limit. In the first half every service is restarted in turn and two agents are killed; in the second all are left
    alone. Writes what was seen to the results page, and ends everything it started. Linux only.
    """

    async def part() -> list[str]:
        machine = provenance()
        seen = await soaked(minutes)
        called = results_page.command_line("load.soak")
        calls = {kind: dict(counts) for kind, counts in seen.tally.calls.items()}
        soak = Soak(called, machine, minutes, seen.samples, seen.changes, calls, seen.tally.failures)
        return [_written(soak, page)]

    command.run({"soak": part})


def _written(soak: Soak, page: Path) -> str:
    """The section, as it is on the page now."""
    return results_page.publish(page, "soak", soak, text=report.section(soak), draw=partial(plot.draw, soak))


if __name__ == "__main__":
    main()

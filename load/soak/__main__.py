"""The command `python -m load.soak`."""

import sys
from pathlib import Path

import click
import msgspec

from load.measuring import command
from load.measuring.report import provenance
from load.measuring.results_page import PAGE, replace_section
from load.soak import plot, report
from load.soak.record import Soak
from load.soak.soaking import soaked


@click.command(context_settings={"show_default": True})
@click.option("--minutes", type=click.FloatRange(1, 24 * 60), default=30.0, help="How long it goes on.")
@click.option(
    "--page",
    type=click.Path(dir_okay=False, path_type=Path),
    default=PAGE,
    show_default=False,
    help="The page to write to; the plot and raw numbers go to `results` beside it.  [default: load/RESULTS.md]",
)
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
        called = " ".join(["python -m load.soak", *sys.argv[1:]])
        calls = {kind: dict(counts) for kind, counts in seen.tally.calls.items()}
        soak = Soak(called, machine, minutes, seen.samples, seen.changes, calls, seen.tally.failures)
        return [_written(soak, page)]

    command.run({"soak": part})


def _written(soak: Soak, page: Path) -> str:
    """The section, as it is on the page now."""
    folder = page.parent / "results"
    plot.draw(soak, folder)
    (folder / "soak.json").write_bytes(msgspec.json.encode(soak) + b"\n")
    text = report.section(soak)
    replace_section(page, "soak", text)
    return text


if __name__ == "__main__":
    main()

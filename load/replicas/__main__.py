"""The command `python -m load.replicas`."""

from functools import partial
from pathlib import Path

import click

from load.measuring import command, results_page
from load.measuring.report import provenance
from load.replicas import plot, report
from load.replicas.measurement import measured
from load.replicas.results import SERIES, Results


@click.command(context_settings={"show_default": True})
@click.argument("replicas", nargs=-1, type=click.IntRange(1, 20))
@click.option("--rounds", type=click.IntRange(1, 20), default=3, help="How often to measure each, in turns.")
@click.option("--seconds", type=click.IntRange(10, 60), default=20, help="How long a run lasts.")
@click.option("--grpc-only", is_flag=True, help="Do not measure REST, for which wrk is needed.")
@results_page.option
def main(replicas: tuple[int, ...], rounds: int, seconds: int, grpc_only: bool, page: Path) -> None:
    """Measure how throughput grows with the number of REPLICAS (1 2 3 5 8), and write it to the results page.

    Starts a simulated model and a mesh of its own on free ports of this machine, scales it, and ends both. Takes about
    twenty minutes. Needs ghz, which is built once where there is Go, and wrk.
    """
    shown = [series for series in SERIES if series.surface == "gRPC" or not grpc_only]
    counts = sorted(set(replicas)) or [1, 2, 3, 5, 8]

    async def part() -> list[str]:
        machine = provenance()
        cells = await measured(counts, shown, rounds=rounds, seconds=seconds)
        called = results_page.command_line("load.replicas")
        return [_written(Results(called, machine, rounds, seconds, cells), page)]

    command.run({"replicas": part})


def _written(results: Results, page: Path) -> str:
    """The section, as it is on the page now."""
    return results_page.publish(
        page, "replicas", results, text=report.section(results), draw=partial(plot.draw, results)
    )


if __name__ == "__main__":
    main()

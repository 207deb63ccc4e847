"""The command `python -m load.hops`."""

import os
from functools import partial
from pathlib import Path

import click

from load.hops import cpu, latency, plots, report
from load.hops.results import Results
from load.measuring import command, results_page
from load.measuring.report import provenance
from load.measuring.results_page import PAGE, replace_section

OPERATORS_PAGE = PAGE.parents[1] / "docs" / "performance.md"
_SECTION = "hops"


@click.command(context_settings={"show_default": True})
@click.option("--requests", type=click.IntRange(20, 2000), default=200, help="How many of each kind, one at a time.")
@click.option("--seconds", type=click.IntRange(1, 60), default=8, help="How long each kind is asked in a closed loop.")
@click.option("--callers", type=click.IntRange(1, 200), default=32, help="How many ask at once in it.")
@results_page.option
def main(requests: int, seconds: int, callers: int, page: Path) -> None:
    """Measure where the time of one request goes, hop by hop, and write it to the results page.

    First one request at a time, by its client alone and then with the spans of Envoy and all services; then as many as
    there are answers to, with the CPU time of each process. Starts meshes, models and a collector of spans on free
    ports of this machine, and ends them all. Takes about three minutes. Needs wrk, and ghz, which is built once where
    there is Go.
    """

    async def part() -> list[str]:
        machine = provenance()
        latencies = await latency.measured(requests)
        loop = await cpu.measured(seconds, callers)
        results = Results(
            command=results_page.command_line("load.hops"),
            provenance=machine,
            requests=requests,
            seconds=seconds,
            callers=callers,
            cores=os.cpu_count() or 1,
            model=loop.model,
            latency=latencies,
            cpu=loop.cases,
            replicas=loop.replicas,
            idle=loop.idle,
        )
        return [_written(results, page)]

    command.run({"hops": part})


def _written(results: Results, page: Path) -> str:
    """The section, as it is on the page now."""
    text = report.section(results)
    results_page.publish(page, _SECTION, results, text=text, draw=partial(plots.save, results))
    if page == PAGE:
        replace_section(OPERATORS_PAGE, _SECTION, report.for_operators(results, plots="../load/results"))
    return text


if __name__ == "__main__":
    main()

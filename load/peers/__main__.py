"""The command `python -m load.peers`."""

from functools import partial
from pathlib import Path

import click

from load.measuring import command, results_page
from load.peers import plots, report, run
from load.peers.results import Results


@click.command(context_settings={"show_default": True})
@click.option("--rounds", type=click.IntRange(1, 20), default=3, help="How often everybody is started and measured.")
@click.option("--seconds", type=click.IntRange(1, 60), default=3, help="How long each run lasts.")
@click.option("--only", multiple=True, help="Part of a contender's name; may be repeated.  [default: all]")
@results_page.option
def main(rounds: int, seconds: int, only: tuple[str, ...], page: Path) -> None:
    """Measure Shoal beside LiteLLM, Portkey and envoyproxy/ratelimit; write the section `peers` of the results page.

    Builds what they need into load/peers/.environments, once (600 MB, from the registries of PyPI, npm and Go), and
    starts each on free ports of this machine, with a mock of a model behind it. Ends them all. The load stays on this
    machine; each run ends after its seconds or a million requests. Takes about 18 minutes.

    Needs Go for the mock and for ghz, and wrk. A peer for which a program is missing is left out.
    """

    def is_wanted(name: str) -> bool:
        return not only or any(part.casefold() in name.casefold() for part in only)

    async def part() -> list[str]:
        called = results_page.command_line("load.peers")
        return [_written(await run.measured(called, rounds=rounds, seconds=seconds, only=is_wanted), page)]

    command.run({"peers": part})


def _written(results: Results, page: Path) -> str:
    """The section, as it is on the page now."""
    return results_page.publish(page, "peers", results, text=report.section(results), draw=partial(plots.save, results))


if __name__ == "__main__":
    main()

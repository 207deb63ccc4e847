"""The command `python -m load.front_door`."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import click

from load.front_door import plots, summary
from load.front_door.measurement import MODELS, measured
from load.front_door.results import Results
from load.front_door.scenario import Model, Scenario, ScenarioError, own, read
from load.measuring import command, results_page
from load.measuring.report import provenance

_MOST_AGENTS = 20


class _Listed(click.ParamType[Sequence[str]]):
    """Values separated by commas."""

    name = "list"

    def convert(
        self, value: str | Sequence[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Sequence[str]:
        return value.split(",") if isinstance(value, str) else value


@click.command(context_settings={"show_default": True})
@click.option("--models", type=_Listed(), default=",".join(MODELS), help="The models to run on, separated by commas.")
@click.option("--replicas", type=_Listed(), default="1,3", help="How many agents the meshes have, likewise.")
@click.option("--rounds", type=click.IntRange(1, 20), default=3, help="How often everything is started and measured.")
@click.option("--seconds", type=click.IntRange(1, 60), default=6, help="How long each run lasts.")
@click.option(
    "--only",
    type=_Listed(),
    default="",
    show_default=False,
    help="Names of files in load/scenarios, likewise.  [default: all]",
)
@click.option(
    "--scenario",
    "files",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A file of your own instead; may be repeated.",
)
@results_page.option
def main(
    models: Sequence[str],
    replicas: Sequence[str],
    rounds: int,
    seconds: int,
    only: Sequence[str],
    files: Sequence[Path],
    page: Path,
) -> None:
    """Ask a mesh of its own as callers do, by the scenarios in load/scenarios; write what they got to the results page.

    Starts simulated models and meshes on free ports of this machine, anew in each round, and ends them all. The load
    stays on this machine; each run ends after its seconds or a million requests. Takes about fourteen minutes: 120 runs
    of 6 s, and 5 to 10 s for each of the 12 meshes. Needs wrk, and ghz, which is built once where there is Go.
    """
    counts, chosen = _counts(replicas), _models(models)
    scenarios = _scenarios([name for name in only if name], files)
    if not any(model in scenario.models for scenario in scenarios.values() for model in chosen):
        raise click.UsageError("none of these scenarios runs on these models")

    async def part() -> list[str]:
        machine = provenance()
        rows = await measured(scenarios, chosen, counts, rounds=rounds, seconds=seconds)
        called = results_page.command_line("load.front_door")
        results = Results(
            command=called, machine=machine, rounds=rounds, seconds=seconds, scenarios=scenarios, rows=rows
        )
        return [_written(results, page)]

    command.run({"load": part})


def _counts(replicas: Sequence[str]) -> list[int]:
    counts = [int(text) if text.isdecimal() else 0 for text in replicas]
    if not all(1 <= count <= _MOST_AGENTS for count in counts):
        raise click.BadOptionUsage("--replicas", f"--replicas takes numbers from 1 to {_MOST_AGENTS}, such as 1,3")
    return sorted(set(counts))


def _models(models: Sequence[str]) -> list[Model]:
    if unknown := set(models) - set(MODELS):
        raise click.BadOptionUsage("--models", f"there is no model {', '.join(unknown)}; there are {', '.join(MODELS)}")
    return [cast("Model", model) for model in dict.fromkeys(models)]


def _scenarios(only: Sequence[str], files: Sequence[Path]) -> dict[str, Scenario]:
    try:
        return dict(map(read, files)) if files else own(only)
    except ScenarioError as error:
        raise click.ClickException(str(error)) from None


def _written(results: Results, page: Path) -> str:
    """The section, as it is on the page now."""
    return results_page.publish(page, "load", results, text=summary.section(results), draw=partial(plots.save, results))


if __name__ == "__main__":
    main()

"""The command `shoal`. What a command needs is imported when that command runs, so that each stays small."""

import asyncio
import gc
import os
import sys
from typing import TYPE_CHECKING

import click

from launcher.cache.commands import cache
from launcher.certs.command import certs
from launcher.exits import BAD_SETTINGS, fail, list_faults, loaded
from launcher.fleet.commands import list_processes, restart_service, scale_service
from launcher.keys.commands import keys
from launcher.programs import PROGRAMS
from launcher.settings import MigrateSettings

if TYPE_CHECKING:
    from launcher.fleet.autoscaling import Bounds


class _Commands(click.Group):
    """Refuses arguments that are not UTF-8: neither a call nor a setting could carry them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for argument in args:
            try:
                argument.encode()
            except UnicodeEncodeError:
                raise click.UsageError(f"The argument {os.fsencode(argument)!r} is not UTF-8.", ctx) from None
        return super().parse_args(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.pass_context
def main(context: click.Context) -> None:
    """Shoal serves an AI agent as a school of identical replicas behind Envoy.

    Every command reads its settings from SHOAL_* variables; `shoal check` says whether they are good.
    """
    # What is written, databases and keys among it, is nobody else's to read, whatever the folder allows.
    os.umask(0o077)
    context.obj = os.environ


main.add_command(keys)
main.add_command(cache)
main.add_command(list_processes)
main.add_command(scale_service)
main.add_command(restart_service)
main.add_command(certs)


def _bounds(context: click.Context, parameter: click.Parameter, text: str | None) -> "Bounds | None":
    from launcher.fleet.autoscaling import Bounds

    try:
        return None if text is None else Bounds.parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", context, parameter) from None


@main.command()
@click.option(
    "--autoscale",
    metavar="agent=LEAST..MOST",
    callback=_bounds,
    help="Keep the number of agents between these, by how busy they are: 2 more above 80 %, 1 less below 30 %.",
)
def up(autoscale: "Bounds | None") -> None:
    """Start the whole mesh on this machine.

    Starts Valkey, the local model, the limiter, the cache, the agents, the gateway and Envoy, each as soon as what it
    needs is ready, and keeps them running. Ctrl-C or SIGTERM stops everything within 10 seconds.

    \b
    SHOAL_HOME             where data, keys and logs are (.shoal)
    SHOAL_AGENT_REPLICAS   how many agents to start (3)
    SHOAL_CACHE_REPLICAS   how many caches to start (1)
    SHOAL_FRONT_PORT       the front door (8080)
    SHOAL_PORT_SHIFT       added to every port, for a second mesh on this machine (0)
    SHOAL_MODEL_BASE_URL   an OpenAI-compatible API, instead of the local model
    SHOAL_LIMITS_REDIS_URL, SHOAL_STATE_REDIS_URL, SHOAL_CACHE_REDIS_URL
                           Redis servers, instead of local Valkeys
    SHOAL_DATABASE_URL     PostgreSQL, instead of SQLite files in the home
    SHOAL_TLS_CERT_FILE, SHOAL_TLS_KEY_FILE
                           TLS on port 8443

    `shoal ps`, `shoal scale` and `shoal restart` look at it and change it while it runs.

    \b
    Examples:
      shoal up
      shoal up --autoscale agent=2..8
      SHOAL_AGENT_REPLICAS=5 SHOAL_PORT_SHIFT=100 SHOAL_HOME=/tmp/second shoal up
      SHOAL_MODEL_BASE_URL=http://127.0.0.1:11434/v1 shoal up

    Exit codes: 0 after an orderly stop, 1 if the mesh cannot start, 2 for bad settings or busy ports.
    """
    from launcher.home import HomeError
    from launcher.processes.keeper import GaveUpError
    from launcher.up import UncheckedError
    from launcher.up import up as run_mesh

    try:
        asyncio.run(run_mesh(os.environ, autoscale=autoscale))
    except UncheckedError:
        sys.exit(BAD_SETTINGS)
    except HomeError as error:
        fail(str(error))
    except GaveUpError:
        fail("The mesh cannot start: what was given up is named above.")


@main.command()
@click.argument("service", type=click.Choice(list(PROGRAMS)))
def run(service: str) -> None:
    """Run one process of the mesh in the foreground.

    `shoal up` starts all of them like this. By hand, or under another supervisor, each needs to be told its name, its
    ports and the mesh's secret; what else it reads has a default that fits one machine.

    \b
    Example:
      SHOAL_REPLICA=agent-9 SHOAL_PORT=8129 SHOAL_METRICS_PORT=9129 \\
        SHOAL_MESH_SECRET_FILE=.shoal/mesh-secret shoal run agent

    SIGTERM lets it finish what it is doing (SHOAL_DRAIN_SECONDS). Exit code 2 if settings are bad; all are named.
    """
    import uvloop

    from launcher.programs import run_of, settings_of

    # What is imported stays until the end, and looking through it for garbage takes an eighth of the start.
    gc.disable()
    serve, kind = run_of(service), settings_of(service)
    gc.freeze()
    gc.enable()
    # A sixth less CPU for a call than asyncio's own loop takes; see docs/adr/0017.
    uvloop.run(serve(loaded(kind, os.environ)))


@main.command()
@click.option("--ports", is_flag=True, help="Also check that every port of the mesh is free.")
@click.option("--quiet", is_flag=True, help="Say nothing if all is good.")
def check(ports: bool, quiet: bool) -> None:
    """Check all settings, list every fault at once.

    Looks at the environment as `shoal up` would: the settings of each process, TLS files, the agent of your own
    (SHOAL_AGENT), and SHOAL_* variables that nobody reads. Starts nothing. Exit code 0 if all is good, else 2.
    """
    from launcher.check import check_mesh

    findings = check_mesh(os.environ, ports=ports)
    if findings.faults:
        list_faults(findings.faults)
    if not quiet:
        click.echo(f"{findings.settings} settings, all good")


@main.command()
def migrate() -> None:
    """Bring the databases up to date.

    `shoal up` does this by itself. With services that are run in another way, run it once before they start.
    Reads SHOAL_DATABASE_URL, or makes SQLite files in SHOAL_HOME. Running it again changes nothing.
    """
    from launcher.migrate import migrate_all

    asyncio.run(migrate_all(loaded(MigrateSettings, os.environ)))


@main.command()
def settings() -> None:
    """Show all settings and who reads them.

    A page of Markdown: each variable with its type, its default and what it means.
    """
    from launcher.settings_table import markdown

    click.echo(markdown(), nl=False)

"""The commands that look at a running mesh and change it: `shoal ps`, `shoal scale`, `shoal restart`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from launcher.exits import fail, loaded
from launcher.home import Home
from launcher.settings import ControlSettings

if TYPE_CHECKING:
    from launcher.control.messages import Request


@click.command("ps")
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of a table.")
@click.pass_obj
def list_processes(environ: Mapping[str, str], as_json: bool) -> None:
    """Show every process of the running mesh.

    \b
    state    starting, ready, draining (finishes its calls, gets no new ones) or down
    envoy    as Envoy sees it: healthy, unhealthy, draining or absent
    load     calls in progress; where a process has slots: running+waiting/slots
    memory   resident; uptime and restarts are since it last started, and since `shoal up`

    "-" is what a process does not tell.

    \b
    Examples:
      shoal ps
      shoal ps --json | jq '.[] | select(.state != "ready") | .name'

    SHOAL_HOME says which mesh (.shoal). Exit code 1 if none runs there.
    """
    from launcher.control.client import ControlError, processes
    from launcher.fleet import listing as process_list

    try:
        rows = processes(_home(environ))
    except ControlError as error:
        fail(str(error))
    click.echo(process_list.as_json(rows) if as_json else process_list.as_table(rows))


@click.command("scale")
@click.argument("service", type=click.Choice(["agent", "gateway", "cache", "ratelimit"]))
@click.argument("replicas", type=click.IntRange(min=1))
@click.pass_obj
def scale_service(environ: Mapping[str, str], service: str, replicas: int) -> None:
    """Change how many replicas of a service the running mesh has.

    Returns when new replicas take calls and those that leave have ended. Who leaves gets no new calls and finishes its
    streams first, for at most SHOAL_STREAM_MAX_SECONDS. There can be 20 agents, 10 gateways and 4 caches; limiters
    cannot be scaled while the mesh runs, for each is told at its start how many there are. The next `shoal up` starts
    as many as its settings say.

    \b
    Examples:
      shoal scale agent 5
      shoal scale gateway 2

    Ctrl-C stops this command and not the change. SHOAL_HOME says which mesh (.shoal).

    Exit codes: 0 when it is done, 1 if it is refused or failed, 2 for bad usage.
    """
    from launcher.control.messages import Scale

    _change(environ, Scale(service=service, replicas=replicas))


@click.command("restart")
@click.argument("service", type=click.Choice(["agent", "gateway", "cache", "ratelimit", "envoy"]))
@click.pass_obj
def restart_service(environ: Mapping[str, str], service: str) -> None:
    """Replace every process of a service, one at a time, while calls go on.

    Each new one takes calls before the old one gets no more; that one finishes its streams, for at most
    SHOAL_STREAM_MAX_SECONDS, and ends. New processes run the code that is installed now, with the settings that
    `shoal up` was started with.

    \b
    Examples:
      shoal restart agent
      shoal restart envoy

    Ctrl-C stops this command and not the change. SHOAL_HOME says which mesh (.shoal).

    Exit codes: 0 when it is done, 1 if it is refused or failed, 2 for bad usage.
    """
    from launcher.control.messages import Restart

    _change(environ, Restart(service=service))


def _change(environ: Mapping[str, str], request: "Request") -> None:
    from launcher.control.client import ControlError, change

    try:
        change(_home(environ), request, click.echo)
    except ControlError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("\nThis goes on in the mesh without the command; `shoal ps` shows how far it is.")


def _home(environ: Mapping[str, str]) -> Home:
    return Home.at(loaded(ControlSettings, environ).home)

"""The command `shoal`. What a command needs is imported when that command runs, so that each stays small."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from launcher.programs import PROGRAMS
from launcher.settings import KeysSettings, MigrateSettings
from meshkit.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from launcher.keys import KeysClient

_BAD_SETTINGS = 2

S = TypeVar("S", bound=Settings)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Shoal serves an AI agent as a school of identical replicas behind Envoy.

    Every command reads its settings from SHOAL_* variables; `shoal check` says whether they are good.
    """


@main.command()
def up() -> None:
    """Start the whole mesh on this machine.

    Starts Valkey, the local model, the limiter, the cache, the agents, the gateway and Envoy, each as soon as what it
    needs is ready, and keeps them running. Ctrl-C or SIGTERM stops everything within 10 seconds.

    \b
    SHOAL_HOME             where data, keys and logs are (.shoal)
    SHOAL_AGENT_REPLICAS   how many agents to start (3)
    SHOAL_FRONT_PORT       the front door (8080)
    SHOAL_PORT_SHIFT       added to every port, for a second mesh on this machine (0)
    SHOAL_MODEL_BASE_URL   an OpenAI-compatible API, instead of the local model
    SHOAL_LIMITS_REDIS_URL, SHOAL_STATE_REDIS_URL, SHOAL_CACHE_REDIS_URL
                           Redis servers, instead of local Valkeys
    SHOAL_DATABASE_URL     PostgreSQL, instead of SQLite files in the home
    SHOAL_TLS_CERT_FILE, SHOAL_TLS_KEY_FILE
                           TLS on port 8443

    \b
    Examples:
      shoal up
      SHOAL_AGENT_REPLICAS=5 SHOAL_PORT_SHIFT=100 SHOAL_HOME=/tmp/second shoal up
      SHOAL_MODEL_BASE_URL=http://127.0.0.1:11434/v1 shoal up

    Exit codes: 0 after an orderly stop, 1 if the mesh cannot start, 2 for bad settings or busy ports.
    """
    from launcher.home import HomeError
    from launcher.supervisor import GaveUpError
    from launcher.up import UncheckedError
    from launcher.up import up as run_mesh

    try:
        asyncio.run(run_mesh(os.environ))
    except UncheckedError:
        sys.exit(_BAD_SETTINGS)
    except HomeError as error:
        _fail(str(error))
    except GaveUpError:
        sys.exit(1)


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
    from launcher.programs import run_of, settings_of

    asyncio.run(run_of(service)(_settings(settings_of(service))))


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
        _list_faults(findings.faults)
    if not quiet:
        click.echo(f"{findings.settings} settings, all good")


@main.command()
def migrate() -> None:
    """Bring the databases up to date.

    `shoal up` does this by itself. With services that are run in another way, run it once before they start.
    Reads SHOAL_DATABASE_URL, or makes SQLite files in SHOAL_HOME. Running it again changes nothing.
    """
    from launcher.migrate import migrate_all

    asyncio.run(migrate_all(_settings(MigrateSettings)))


@main.command()
def settings() -> None:
    """Show all settings and who reads them.

    A page of Markdown: each variable with its type, its default and what it means.
    """
    from launcher.settings_table import markdown

    click.echo(markdown(), nl=False)


@main.group()
def keys() -> None:
    """Create, list, update and revoke API keys.

    These talk to the running mesh, as its operator: they sign their calls with the mesh's secret.

    \b
    SHOAL_HOME, SHOAL_MESH_SECRET_FILE   where that secret is (.shoal/mesh-secret)
    SHOAL_MESH_ADDRESS                   the mesh's inner listener (127.0.0.1:8090)
    SHOAL_INNER_PORT, SHOAL_PORT_SHIFT   where it is, if `shoal up` was told the same
    """


@keys.command("create")
@click.option("--tenant", required=True, help="Whose key it is; a new name makes a new tenant.")
@click.option("--tier", required=True, help="Its limits: free, basic, premium, or another of SHOAL_TIERS.")
@click.option("--name", default="", help="What to call it in lists.")
def create_key(tenant: str, tier: str, name: str) -> None:
    """Create an API key and print it, this once.

    The key alone goes to standard output, so that it can be piped:

    \b
      shoal keys create --tenant acme --tier premium > acme.key
    """

    async def command(client: "KeysClient") -> None:
        created = await client.create(tenant=tenant, tier=tier, name=name)
        click.echo(f"Key {created.api_key.id} of {tenant}, tier {tier}. It is shown only now:", err=True)
        click.echo(created.secret)

    _with_keys(command)


@keys.command("list")
@click.option("--tenant", default="", help="Only this tenant's keys.")
@click.option("--all", "include_revoked", is_flag=True, help="Also those that were revoked.")
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of a table.")
def list_keys(tenant: str, include_revoked: bool, as_json: bool) -> None:
    """List API keys, oldest first. The keys themselves are kept nowhere, so they are not shown."""

    async def command(client: "KeysClient") -> None:
        from launcher import key_list

        found = await client.list_keys(tenant=tenant, include_revoked=include_revoked)
        click.echo(key_list.as_json(found) if as_json else key_list.as_table(found))

    _with_keys(command)


@keys.command("update")
@click.argument("key_id", metavar="ID")
@click.option("--tier", required=True, help="Its limits from now on: free, basic, premium, or another of SHOAL_TIERS.")
def update_key(key_id: str, tier: str) -> None:
    """Move an API key to another tier. Within 5 seconds that holds everywhere. ID is from `shoal keys list`.

    \b
    Example:
      shoal keys update key_0123456789abcdef --tier premium
    """

    async def command(client: "KeysClient") -> None:
        updated = await client.update(key_id, tier=tier)
        click.echo(f"Key {updated.id} of {updated.tenant} has the tier {updated.tier}.", err=True)

    _with_keys(command)


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
def revoke_key(key_id: str) -> None:
    """Revoke an API key, for good. Within 5 seconds it is refused everywhere. ID is from `shoal keys list`."""

    async def command(client: "KeysClient") -> None:
        revoked = await client.revoke(key_id)
        click.echo(f"Key {revoked.id} of {revoked.tenant} is revoked.", err=True)

    _with_keys(command)


@keys.command("ensure-demo", hidden=True)
def ensure_demo() -> None:
    """See to it that the demo key in the home is a good one. Prints its id: the key itself must not get into a log."""

    async def command(client: "KeysClient") -> None:
        from launcher.demo_key import ensure_demo_key
        from launcher.home import Home

        click.echo(await ensure_demo_key(Home.at(_settings(KeysSettings).home), client))

    _with_keys(command)


def _with_keys(command: "Callable[[KeysClient], Coroutine[None, None, None]]") -> None:
    """Runs a command with a client of the limiter. Ends with the error's sentence if there is one."""
    from launcher.keys import KeysError, open_keys

    settings = _settings(KeysSettings)

    async def connected() -> None:
        async with open_keys(settings) as client:
            await command(client)

    try:
        asyncio.run(connected())
    except (KeysError, ValueError) as error:
        _fail(str(error))


def _settings(kind: type[S]) -> S:
    """Settings from the environment. Ends the command with a list of faults if there are any."""
    try:
        return load(kind, os.environ)
    except SettingsError as error:
        _list_faults(error.faults)


def _list_faults(faults: tuple[str, ...] | list[str]) -> NoReturn:
    click.echo(f"{len(faults)} to mend before this can start:", err=True)
    for fault in faults:
        click.echo(f"  - {fault}", err=True)
    sys.exit(_BAD_SETTINGS)


def _fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(1)

"""The commands `shoal keys ...`. What a command needs is imported when it runs."""

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING

import click

from launcher.exits import loaded
from launcher.operator_commands import OPERATOR_HELP, run_as_operator
from launcher.settings import OperatorSettings

if TYPE_CHECKING:
    from launcher.keys.client import KeysClient


@click.group(epilog=OPERATOR_HELP)
def keys() -> None:
    """Create, list, update and revoke API keys, as the operator of the running mesh."""


@keys.command("create")
@click.option("--tenant", required=True, help="Whose key it is; a new name makes a new tenant.")
@click.option("--tier", required=True, help="Its limits: free, basic, premium, or another of SHOAL_TIERS.")
@click.option("--name", default="", help="What to call it in lists.")
@click.pass_obj
def create_key(environ: Mapping[str, str], tenant: str, tier: str, name: str) -> None:
    """Create an API key and print it, this once.

    The key alone goes to standard output, so that it can be piped:

    \b
      shoal keys create --tenant acme --tier premium > acme.key
    """

    async def command(client: "KeysClient") -> None:
        created = await client.create(tenant=tenant, tier=tier, name=name)
        click.echo(f"Key {created.api_key.id} of {tenant}, tier {tier}. It is shown only now:", err=True)
        click.echo(created.secret)

    _with_keys(environ, command)


@keys.command("list")
@click.option("--tenant", default="", help="Only this tenant's keys.")
@click.option("--all", "include_revoked", is_flag=True, help="Also those that were revoked.")
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of a table.")
@click.pass_obj
def list_keys(environ: Mapping[str, str], tenant: str, include_revoked: bool, as_json: bool) -> None:
    """List API keys, oldest first. The keys themselves are kept nowhere, so they are not shown."""

    async def command(client: "KeysClient") -> None:
        from launcher.keys import listing as key_list

        found = await client.list_keys(tenant=tenant, include_revoked=include_revoked)
        click.echo(key_list.as_json(found) if as_json else key_list.as_table(found))

    _with_keys(environ, command)


@keys.command("update")
@click.argument("key_id", metavar="ID")
@click.option("--tier", required=True, help="Its limits from now on: free, basic, premium, or another of SHOAL_TIERS.")
@click.pass_obj
def update_key(environ: Mapping[str, str], key_id: str, tier: str) -> None:
    """Move an API key to another tier. Within 5 seconds that holds everywhere. ID is from `shoal keys list`.

    \b
    Example:
      shoal keys update key_0123456789abcdef --tier premium
    """

    async def command(client: "KeysClient") -> None:
        updated = await client.update(key_id, tier=tier)
        click.echo(f"Key {updated.id} of {updated.tenant} has the tier {updated.tier}.", err=True)

    _with_keys(environ, command)


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@click.pass_obj
def revoke_key(environ: Mapping[str, str], key_id: str) -> None:
    """Revoke an API key, for good. Within 5 seconds it is refused everywhere. ID is from `shoal keys list`."""

    async def command(client: "KeysClient") -> None:
        revoked = await client.revoke(key_id)
        click.echo(f"Key {revoked.id} of {revoked.tenant} is revoked.", err=True)

    _with_keys(environ, command)


@keys.command("ensure-demo", hidden=True)
@click.pass_obj
def ensure_demo(environ: Mapping[str, str]) -> None:
    """See to it that the demo key in the home is a good one. Prints its id: the key itself must not get into a log."""

    async def command(client: "KeysClient") -> None:
        from launcher.home import Home
        from launcher.keys.demo_key import ensure_demo_key

        click.echo(await ensure_demo_key(Home.at(loaded(OperatorSettings, environ).home), client))

    _with_keys(environ, command)


def _with_keys(environ: Mapping[str, str], command: "Callable[[KeysClient], Coroutine[None, None, None]]") -> None:
    from launcher.keys.client import open_keys

    run_as_operator(environ, open_keys, command)

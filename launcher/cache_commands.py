"""The commands `shoal cache ...`. What a command needs is imported when it runs."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING

import click

from launcher.exits import fail, loaded
from launcher.settings import OperatorSettings
from launcher.warming.command import warm_cache

if TYPE_CHECKING:
    from launcher.cache_client import CacheClient

POLICIES = ("response", "model_output", "conversation_context", "tool_result")
WITHIN_SECONDS = 1
"""So long it takes until an invalidation holds in every cache process."""


@click.group()
def cache() -> None:
    """Look into the cache, invalidate what is in it, fill it.

    `stats`, `get` and `invalidate` talk to the running mesh, as its operator: they sign their calls with the mesh's
    secret. `warm` goes through the front door with an API key, as any user.

    \b
    SHOAL_HOME, SHOAL_MESH_SECRET_FILE   where that secret is (.shoal/mesh-secret)
    SHOAL_MESH_ADDRESS                   the mesh's inner listener (127.0.0.1:8090)
    SHOAL_INNER_PORT, SHOAL_PORT_SHIFT   where it is, if `shoal up` was told the same
    """


cache.add_command(warm_cache)


@cache.command("stats")
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of tables.")
@click.option("--watch", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Again and again, until Ctrl-C.")
@click.pass_obj
def show_stats(environ: Mapping[str, str], as_json: bool, watch: float | None) -> None:
    """Show how a cache process was used since it started.

    For each level and each policy: hits, misses, stores, failures; what hits have saved in tokens and money; how long
    answers are fresh at present. With several cache processes (SHOAL_CACHE_REPLICAS) the numbers are of the one that
    Envoy chose, which is named; each shows its own at /metrics.

    \b
    Examples:
      shoal cache stats
      shoal cache stats --watch 2
      shoal cache stats --json | jq '.levels[0].hit_rate'
    """

    async def command(client: "CacheClient") -> None:
        from launcher import cache_stats

        shown = cache_stats.as_json if as_json else cache_stats.as_tables
        click.echo(shown(await client.stats()))
        while watch is not None:
            await asyncio.sleep(watch)
            text = shown(await client.stats())
            click.clear()
            click.echo(text)

    try:
        _with_cache(environ, command)
    except KeyboardInterrupt:
        if watch is None:
            raise


@cache.command("get")
@click.argument("key")
@click.option("--tenant", required=True, help="Whose answer it is.")
@click.option("--policy", type=click.Choice(POLICIES), default="response", show_default=True, help="What it is.")
@click.option("--events", is_flag=True, help="Also what is kept: one JSON value for each event.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@click.pass_obj
def get_entry(environ: Mapping[str, str], key: str, tenant: str, policy: str, events: bool, as_json: bool) -> None:
    """Show an entry: at which levels it is, its age, size, tags and worth.

    KEY is the `cache.key` of an answer, 64 hexadecimal digits. Looking changes nothing: it counts as no use. L1 is that
    of one cache process. An event that is no msgpack is shown as {"base64": "..."}.

    \b
    Example:
      shoal cache get 9f86d0...0f00a08 --tenant demo --events

    Exit code 1 if the key is not cached.
    """

    async def command(client: "CacheClient") -> None:
        from launcher import cache_entry

        found = await client.get(tenant=tenant, key=key, policy=policy)
        if as_json or found.entries or found.failed_levels:
            shown = cache_entry.as_json if as_json else cache_entry.as_text
            click.echo(shown(found, events=events))
        if not found.entries:
            fail(f"Not cached: no level has a {policy} of the tenant {tenant} under this key.")

    _with_cache(environ, command)


@cache.command("invalidate")
@click.option("--tenant", required=True, help="Whose answers.")
@click.option("--key", help="The answer with this key, and what was kept of the models for it.")
@click.option("--tag", help="All answers with this tag.")
@click.option("--all", "everything", is_flag=True, help="All answers of the tenant.")
@click.option("--yes", is_flag=True, help="Do not ask whether --all is meant.")
@click.pass_obj
def invalidate(
    environ: Mapping[str, str], tenant: str, key: str | None, tag: str | None, everything: bool, yes: bool
) -> None:
    """Make answers unfindable, at every level of every cache process.

    Within a second that holds everywhere, also for answers that are being computed now. Takes exactly one of --key,
    --tag and --all. On a terminal --all asks first.

    \b
    Examples:
      shoal cache invalidate --tenant acme --tag price-list
      shoal cache invalidate --tenant acme --all --yes
    """
    if [key is not None, tag is not None, everything].count(True) != 1:
        raise click.UsageError("Say what to invalidate: exactly one of --key, --tag and --all.")
    if everything and not yes and sys.stdin.isatty():
        click.confirm(f"Invalidate all answers of the tenant {tenant}?", abort=True)

    async def command(client: "CacheClient") -> None:
        if key is not None:
            what, generation = f"the answer {key}", await client.invalidate_key(tenant, key)
        elif tag is not None:
            what, generation = f"all answers with the tag {tag}", await client.invalidate_tag(tenant, tag)
        else:
            what, generation = "all answers", await client.invalidate_everything(tenant)
        click.echo(
            f"Invalidated {what} of the tenant {tenant}. Within {WITHIN_SECONDS} s that holds in every cache process "
            f"(generation {generation})."
        )

    _with_cache(environ, command)


def _with_cache(environ: Mapping[str, str], command: "Callable[[CacheClient], Coroutine[None, None, None]]") -> None:
    """Runs a command with a client of the cache. Ends with the error's sentence if there is one."""
    from launcher.cache_client import open_cache
    from launcher.operator import OperatorError

    settings = loaded(OperatorSettings, environ)

    async def connected() -> None:
        async with open_cache(settings) as client:
            await command(client)

    try:
        asyncio.run(connected())
    except (OperatorError, ValueError) as error:
        fail(str(error))

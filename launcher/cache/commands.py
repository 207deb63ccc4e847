"""The commands `shoal cache ...`. What a command needs is imported when it runs."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING

import click

from launcher.cache import options as cache_options
from launcher.cache.warming.command import warm_cache
from launcher.exits import fail
from launcher.operator_commands import OPERATOR_HELP, run_as_operator

if TYPE_CHECKING:
    from launcher.cache.client import CacheClient
    from launcher.operator import Operator

WITHIN_SECONDS = 1
"""So long it takes until an invalidation holds in every cache process."""


@click.group(epilog=OPERATOR_HELP)
def cache() -> None:
    """Look into the cache, invalidate what is in it, fill it.

    `stats`, `get` and `invalidate` act as the operator of the running mesh. `warm` goes through the front door with an
    API key, as any user.
    """


cache.add_command(warm_cache)


@cache.command("stats")
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of tables.")
@click.option("--watch", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Again and again, until Ctrl-C.")
@click.pass_obj
def show_stats(environ: Mapping[str, str], as_json: bool, watch: float | None) -> None:
    """Show how a cache process was used since it started.

    For each level and each policy: hits, misses, stores, failures; what hits have saved in tokens and money; how long
    answers are fresh at present. What a level holds that all processes share is not told ("-"). With several cache
    processes (SHOAL_CACHE_REPLICAS) the numbers are of the one that Envoy chose, which is named. cache-1 shows its own
    to Prometheus at http://127.0.0.1:9111/metrics, cache-2 at port 9112 and so on, plus SHOAL_PORT_SHIFT.

    \b
    Examples:
      shoal cache stats
      shoal cache stats --watch 2
      shoal cache stats --json | jq '.levels[0].hit_rate'
    """

    async def command(client: "CacheClient") -> None:
        from launcher.cache import stats as cache_stats

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
@click.argument("key", type=cache_options.key)
@click.option("--tenant", type=cache_options.tenant, required=True, help="Whose answer it is.")
@click.option(
    "--policy",
    type=cache_options.policy,
    default="response",
    show_default=True,
    help="What it is, as in SHOAL_CACHE_POLICIES. The keys of other kinds are those that their own callers chose.",
)
@click.option("--events", is_flag=True, help="Also what is kept: one JSON value for each event.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@click.pass_obj
def get_entry(environ: Mapping[str, str], key: str, tenant: str, policy: str, events: bool, as_json: bool) -> None:
    """Show an entry: at which levels it is, its age, size, tags and worth.

    KEY is the `cache.key` of an answer, 64 hexadecimal digits. Looking changes nothing: it counts as no use. L1 is that
    of the cache process that all calls about this key go to. An event that is no msgpack is shown as
    {"base64": "..."}.

    \b
    Example:
      shoal cache get 9f86d0...0f00a08 --tenant demo --events

    Exit code 1 if no look-up finds it: it is not cached, or invalidated at every level that has it.
    """

    async def command(client: "CacheClient") -> None:
        from launcher.cache import entry as cache_entry

        found = await client.get(tenant=tenant, key=key, policy=policy)
        if as_json or found.entries or found.failed_levels:
            shown = cache_entry.as_json if as_json else cache_entry.as_text
            click.echo(shown(found, events=events))
        if not found.entries:
            fail(f"Not cached: no level has a {policy} of the tenant {tenant} under this key.")
        if all(entry.invalidated for entry in found.entries):
            fail(f"Invalidated: no look-up finds this {policy} of the tenant {tenant} any more.")

    _with_cache(environ, command)


@cache.command("invalidate")
@click.option("--tenant", type=cache_options.tenant, required=True, help="Whose answers.")
@click.option("--key", type=cache_options.key, help="The answer with this key, and what was kept of the models for it.")
@click.option("--tag", type=cache_options.tag, help="All answers with this tag.")
@click.option("--all", "everything", is_flag=True, help="All answers of the tenant.")
@click.option("--yes", is_flag=True, help="Do not ask whether --all is meant.")
@click.pass_obj
def invalidate(
    environ: Mapping[str, str], tenant: str, key: str | None, tag: str | None, everything: bool, yes: bool
) -> None:
    """Make answers unfindable, at every level of every cache process.

    Within a second that holds everywhere, also for answers that are being computed now. Takes exactly one of --key,
    --tag and --all. On a terminal --all asks first. A tenant that no API key was ever made for is warned of.

    \b
    Examples:
      shoal cache invalidate --tenant acme --tag price-list
      shoal cache invalidate --tenant acme --all --yes
    """
    if [key is not None, tag is not None, everything].count(True) != 1:
        raise click.UsageError("Say what to invalidate: exactly one of --key, --tag and --all.")
    if everything and not yes and sys.stdin.isatty():
        click.confirm(f"Invalidate all answers of the tenant {tenant}?", abort=True)

    from launcher.cache.client import CacheClient
    from launcher.keys.client import KeysClient
    from launcher.keys.tenants import doubt
    from launcher.operator import open_operator

    async def command(operator: "Operator") -> None:
        click.echo(await _invalidated(CacheClient(operator), tenant, key, tag))
        if warning := await doubt(tenant, KeysClient(operator)):
            click.echo(warning, err=True)

    run_as_operator(environ, open_operator, command)


async def _invalidated(client: "CacheClient", tenant: str, key: str | None, tag: str | None) -> str:
    """Invalidates what is named, or else everything, and says so."""
    if key is not None:
        what, generation = f"the answer {key}", await client.invalidate_key(tenant, key)
    elif tag is not None:
        what, generation = f"all answers with the tag {tag}", await client.invalidate_tag(tenant, tag)
    else:
        what, generation = "all answers", await client.invalidate_everything(tenant)
    return (
        f"Invalidated {what} of the tenant {tenant}. Within {WITHIN_SECONDS} s that holds in every cache process "
        f"(generation {generation})."
    )


def _with_cache(environ: Mapping[str, str], command: "Callable[[CacheClient], Coroutine[None, None, None]]") -> None:
    from launcher.cache.client import open_cache

    run_as_operator(environ, open_cache, command)

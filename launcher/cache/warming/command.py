"""The command `shoal cache warm`. What it needs is imported when it runs."""

import asyncio
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from launcher.cache import options as cache_options
from launcher.exits import FAILED, fail, loaded
from launcher.home import Home
from launcher.settings import WarmSettings
from meshkit.cache_control import MAX_TTL_SECONDS

DAY_SECONDS = 86_400


@click.command("warm")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE.jsonl")
@click.option("--url", type=cache_options.address, help="The front door.  [default: the one on this machine]")
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the API key of the tenant whose cache is filled.  [default: the demo key in SHOAL_HOME]",
)
@click.option(
    "--ttl",
    type=click.IntRange(1, MAX_TTL_SECONDS),
    default=DAY_SECONDS,
    show_default=True,
    help="How long the answers are fresh, in seconds.",
)
@click.option(
    "--tags",
    type=cache_options.tags,
    default="",
    help="Comma-separated; given to every answer that is computed, to invalidate by.",
)
@click.option(
    "--concurrency", type=click.IntRange(1, 64), default=4, show_default=True, help="Tasks that are sent at once."
)
@click.option("--refresh", is_flag=True, help="Compute every answer anew, whatever is there.")
@click.option("--restart", is_flag=True, help="Forget what earlier runs have finished.")
@click.pass_obj
def warm_cache(
    environ: Mapping[str, str],
    file: Path,
    url: str | None,
    api_key_file: Path | None,
    ttl: int,
    tags: tuple[str, ...],
    concurrency: int,
    refresh: bool,
    restart: bool,
) -> None:
    """Fill the cache from a file of tasks.

    Each line of FILE.jsonl is a JSON string, the task, or a JSON object, the body of POST /api/v1/task; its
    `cache.ttl_seconds`, `cache.tags`, `cache.public` and the mode `refresh` hold for that line. Lines go through the
    front door, so the key's limits and budgets apply. An answer that is there already stays, unless less than half of
    its time is left: then it is computed anew. One that stays keeps the tags that it was computed with; --refresh
    gives it those of --tags. Empty lines are passed over, lines that are the same are sent once.

    What is finished is written to FILE.jsonl.warmed. If a run is stopped (Ctrl-C lets what was sent be answered) or
    lines fail, the same command goes on from there; a run that leaves nothing to do removes that file. A finished line
    counts for half of its time, and only with the same address, key, --ttl, --tags and --refresh. Lines that cannot be
    cached are asked again by each run that begins anew, and paid for again.

    A front door that is busy or out of tokens (429, 503) is waited for, up to two minutes for a line; after three such
    lines in a row, or if the key is refused, the run ends early. Other refusals are reported with their line.

    \b
    Example:
      shoal cache warm tasks.jsonl --api-key-file acme.key --tags faq,en --concurrency 8

    Exit codes: 0 if every line was taken and none failed, 1 if not, 2 for bad options or settings.
    """
    from launcher.cache.warming.front_door import NoAnswerError
    from launcher.cache.warming.journal import JournalError
    from launcher.cache.warming.run import Order, warm
    from launcher.cache.warming.tasks import Wishes

    settings = loaded(WarmSettings, environ)
    order = Order(
        file=file,
        url=url or settings.url(),
        api_key=_api_key(api_key_file or Home.at(settings.home).demo_key_file),
        cert_file=settings.tls_cert_file,
        wishes=Wishes(ttl_seconds=ttl, tags=tags, refresh=refresh),
        at_once=concurrency,
        restart=restart,
    )
    try:
        sys.exit(0 if asyncio.run(warm(order)) else FAILED)
    except (JournalError, NoAnswerError, OSError) as error:
        fail(str(error))


def _api_key(file: Path) -> str:
    """The key in a file. Ends the command if there is none."""
    if not file.exists():
        fail(f"There is no API key in {file}; name a file with one by --api-key-file, or start the mesh once.")
    key = file.read_text(encoding="utf-8", errors="replace").strip()
    if not re.fullmatch(r"[!-~]+", key):
        fail(f"{file} holds no API key: a key is one word in ASCII.")
    return key

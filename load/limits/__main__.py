"""The command `python -m load.limits`."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable

import click

from load.limits import fleet, fleet_report, forgetting, report, speed
from load.limits.ghz import GhzError
from load.limits.programs import StartError
from load.limits.progress import say
from load.limits.report import Table

PARTS = ("speed", "batches", "fleet", "outage", "keys")
_STOPPED = 130

Part = Callable[[], Awaitable[list[Table]]]


@click.command(context_settings={"show_default": True})
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option("--rounds", type=click.IntRange(1, 50), default=5, help="How often to measure what is measured in turns.")
@click.option("--seconds", type=click.IntRange(10, 600), default=60, help="How long an overload lasts.")
@click.option("--gone", type=click.IntRange(1, 300), default=20, help="For how many seconds Redis is gone.")
@click.option("--keys", type=click.IntRange(1, 2_000_000), default=1_000_000, help="How many distinct keys there are.")
def main(parts: tuple[str, ...], rounds: int, seconds: int, gone: int, keys: int) -> None:
    """Measure the limiter and print Markdown tables.

    Starts Valkey, limiters and a database of its own on free ports of this machine, and ends them all. PARTS: all of
    them, which takes about six minutes, or some of

    \b
    speed    calls a second through one limiter, beside an empty RPC
    batches  decisions that share a round trip to Redis
    fleet    exactness: three limiters, 300 clients, an overload
    outage   the same with Redis killed in the middle
    keys     what a million distinct keys leave in Redis

    speed and batches need ghz; it is built once where there is Go.
    """
    chosen = parts or PARTS
    if "outage" in chosen and gone >= seconds:
        raise click.UsageError("--gone must be less than --seconds")
    every: dict[str, Part] = {
        "speed": lambda: _speed(rounds),
        "batches": lambda: _batches(rounds),
        "fleet": lambda: _fleet(seconds),
        "outage": lambda: _outage(seconds, gone),
        "keys": lambda: _keys(keys),
    }
    try:
        asyncio.run(_measure({name: every[name] for name in chosen}))
    except (GhzError, StartError, TimeoutError) as error:
        raise click.ClickException(str(error)) from None
    except asyncio.CancelledError:
        sys.exit(_STOPPED)


async def _measure(parts: dict[str, Part]) -> None:
    """Told to stop, it ends what it has started, and raises CancelledError."""
    if measuring := asyncio.current_task():
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, measuring.cancel)
    print(report.provenance())
    for name, part in parts.items():
        say(f"{name} ...")
        for table in await part():
            print(f"\n{table.markdown()}", flush=True)


async def _speed(rounds: int) -> list[Table]:
    return [await speed.beside_an_empty_rpc(rounds)]


async def _batches(rounds: int) -> list[Table]:
    return [await speed.together(rounds)]


async def _fleet(seconds: float) -> list[Table]:
    return [fleet_report.accuracy(*await fleet.with_redis(seconds))]


async def _outage(seconds: float, gone: float) -> list[Table]:
    overload, outage = await fleet.with_redis_killed(seconds, gone_seconds=gone)
    return [fleet_report.bound(overload), fleet_report.decisions(overload, outage)]


async def _keys(count: int) -> list[Table]:
    return [await forgetting.of_keys(count)]


if __name__ == "__main__":
    main()

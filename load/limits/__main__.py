"""The command `python -m load.limits`."""

import click

from load.limits import fleet, fleet_report, forgetting, speed
from load.measuring import command
from load.measuring.command import Part

PARTS = ("speed", "batches", "fleet", "outage", "keys")


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
    command.run({name: every[name] for name in chosen})


async def _speed(rounds: int) -> list[str]:
    return [(await speed.beside_an_empty_rpc(rounds)).markdown()]


async def _batches(rounds: int) -> list[str]:
    return [(await speed.together(rounds)).markdown()]


async def _fleet(seconds: float) -> list[str]:
    return [fleet_report.accuracy(*await fleet.with_redis(seconds)).markdown()]


async def _outage(seconds: float, gone: float) -> list[str]:
    overload, outage = await fleet.with_redis_killed(seconds, gone_seconds=gone)
    return [fleet_report.bound(overload).markdown(), fleet_report.decisions(overload, outage).markdown()]


async def _keys(count: int) -> list[str]:
    return [(await forgetting.of_keys(count)).markdown()]


if __name__ == "__main__":
    main()

"""The command `python -m load.limits`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import click

from load.limits import fleet, fleet_report, forgetting, speed
from load.measuring import command


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured, as the options say."""

    rounds: int
    seconds: int
    gone: int
    keys: int


async def _speed(extent: Extent) -> list[str]:
    return [(await speed.beside_an_empty_rpc(extent.rounds)).markdown()]


async def _batches(extent: Extent) -> list[str]:
    return [(await speed.together(extent.rounds)).markdown()]


async def _fleet(extent: Extent) -> list[str]:
    return [fleet_report.accuracy(*await fleet.with_redis(extent.seconds)).markdown()]


async def _outage(extent: Extent) -> list[str]:
    overload, outage = await fleet.with_redis_killed(extent.seconds, gone_seconds=extent.gone)
    return [fleet_report.bound(overload).markdown(), fleet_report.decisions(overload, outage).markdown()]


async def _keys(extent: Extent) -> list[str]:
    return [(await forgetting.of_keys(extent.keys)).markdown()]


PARTS: Mapping[str, Callable[[Extent], Awaitable[Sequence[str]]]] = MappingProxyType(
    {"speed": _speed, "batches": _batches, "fleet": _fleet, "outage": _outage, "keys": _keys}
)


@click.command(context_settings={"show_default": True})
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
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
    extent = Extent(rounds, seconds, gone, keys)
    command.run({name: partial(PARTS[name], extent) for name in chosen})


if __name__ == "__main__":
    main()

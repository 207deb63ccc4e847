"""The command `python -m load.cache`."""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import click

from load.cache import memory, mesh, speed
from load.measuring import command
from load.measuring.generator import output_of


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured, as the options say."""

    rounds: int
    entries: int


async def _speed(extent: Extent) -> list[str]:
    return [(await speed.beside_an_empty_rpc(extent.rounds)).markdown()]


async def _mesh(extent: Extent) -> list[str]:
    return [(await mesh.hits_beside_misses(extent.rounds)).markdown()]


async def _memory(extent: Extent) -> list[str]:
    return [(await memory.of_entries(extent.entries)).markdown()]


async def _eviction(_: Extent) -> list[str]:
    """It computes for long, so it has a process of its own."""
    printed = await output_of([sys.executable, "-m", "load.cache.eviction", "--no-provenance"])
    return [printed.decode().strip()]


PARTS: Mapping[str, Callable[[Extent], Awaitable[Sequence[str]]]] = MappingProxyType(
    {"speed": _speed, "mesh": _mesh, "memory": _memory, "eviction": _eviction}
)


@click.command(context_settings={"show_default": True})
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--rounds", type=click.IntRange(1, 50), default=5, help="How often to measure what is measured in turns.")
@click.option(
    "--entries", type=click.IntRange(100, 1_000_000), default=100_000, help="How many answers fill the memory."
)
def main(parts: tuple[str, ...], rounds: int, entries: int) -> None:
    """Measure the cache and print Markdown tables.

    Starts Valkey, caches, databases and a mesh of its own on free ports of this machine, and ends them all. PARTS: all
    of them, which takes about eight minutes, or some of

    \b
    speed     look-ups a second through one cache, beside an empty RPC
    mesh      cached and computed answers through the whole mesh
    memory    what answers in L1 take of a cache's memory
    eviction  policies of eviction on simulated traces

    speed and mesh need ghz; it is built once where there is Go.
    """
    extent = Extent(rounds, entries)
    command.run({name: partial(PARTS[name], extent) for name in parts or PARTS})


if __name__ == "__main__":
    main()

"""The command `python -m load.cache`."""

import sys

import click

from load.cache import mesh, service_memory, speed
from load.measuring import command
from load.measuring.command import Part
from load.measuring.generator import output_of

PARTS = ("speed", "mesh", "memory", "eviction")


@click.command(context_settings={"show_default": True})
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
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
    every: dict[str, Part] = {
        "speed": lambda: _speed(rounds),
        "mesh": lambda: _mesh(rounds),
        "memory": lambda: _memory(entries),
        "eviction": _eviction,
    }
    command.run({name: every[name] for name in parts or PARTS})


async def _speed(rounds: int) -> list[str]:
    return [(await speed.beside_an_empty_rpc(rounds)).markdown()]


async def _mesh(rounds: int) -> list[str]:
    return [(await mesh.hits_beside_misses(rounds)).markdown()]


async def _memory(entries: int) -> list[str]:
    return [(await service_memory.of_entries(entries)).markdown()]


async def _eviction() -> list[str]:
    """It computes for long, so it has a process of its own. Its first paragraph says what we have said."""
    printed = await output_of([sys.executable, "-m", "load.cache.eviction"])
    return printed.decode().strip().split("\n\n")[1:]


if __name__ == "__main__":
    main()

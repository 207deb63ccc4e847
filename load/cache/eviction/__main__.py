"""The command `python -m load.cache.eviction`."""

import click

from load.cache.eviction.tables import costs_of_policies, hit_rates
from load.measuring.report import provenance


@click.command(context_settings={"show_default": True})
@click.option("--seeds", type=click.IntRange(1, 100), default=5, help="How many traces of each kind.")
@click.option("--requests", type=click.IntRange(100, 10_000_000), default=100_000, help="How long a trace is.")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, help="How often costs are measured.")
@click.option("--provenance/--no-provenance", "tells_provenance", default=True, help="Say first where it was measured.")
def main(seeds: int, requests: int, rounds: int, *, tells_provenance: bool) -> None:
    """Compare policies of eviction and print Markdown tables: how often they hit on simulated traces, and what they
    cost. Time is simulated; it takes about a minute and a half of one core."""
    if tells_provenance:
        print(f"{provenance()}\n")
    print(hit_rates(seeds=range(1, seeds + 1), count=requests).markdown(), flush=True)
    print(f"\n{costs_of_policies(rounds=rounds).markdown()}")


if __name__ == "__main__":
    main()

"""What the overload of a fleet came to, as tables."""

from collections.abc import Callable, Iterator, Sequence

from load.limits.admitted import Tier, is_exact
from load.limits.fleet import TIERS, Outage
from load.limits.overload import Call, Client, Overload
from load.measuring.report import Cell, Table, percentile, spread

LATE_SECONDS = 0.05
"""A decision that takes longer is late."""


def accuracy(overload: Overload, alone: int) -> Table:
    """Whether each client was admitted what its limit says."""
    table = Table(
        "Admitted of an overload: three limiters on one Redis",
        ("tier", "clients", "asked each", "rate x time + burst", "admitted, median", "lowest", "highest",
         "worst deviation", "clients within max(1, 1 %)"),
        note=f"{_keeping_up(overload)} Decisions without Redis, as if it were gone: {alone}.",
    )  # fmt: skip
    for tier, clients in _by_tier(overload):
        expected = [tier.admits(client.seconds, asked=client.asked) for client in clients]
        admitted = [client.admitted for client in clients]
        deviations = [got - wanted for got, wanted in zip(admitted, expected, strict=True)]
        exact = sum(is_exact(got, wanted) for got, wanted in zip(admitted, expected, strict=True))
        wanted, *_ = spread(expected)
        worst = max(deviations, key=abs)
        table.rows.append(
            (tier.name, len(clients), clients[0].asked, wanted, *spread(admitted), f"{worst:+d}", _of(exact, clients))
        )
    return table


def bound(overload: Overload) -> Table:
    """Whether no client was ever admitted more than its limit allows when Redis forgets everything."""
    table = Table(
        "Admitted of an overload with Redis killed in the middle, and started again empty",
        ("tier", "clients", "asked each", "rate x time + 3 x burst", "admitted, median", "lowest", "highest",
         "clients within the bound"),
        note=_keeping_up(overload),
    )  # fmt: skip
    for tier, clients in _by_tier(overload):
        bounds = [tier.at_most(client.seconds, bursts=3) for client in clients]
        admitted = [client.admitted for client in clients]
        within = sum(got <= most for got, most in zip(admitted, bounds, strict=True))
        table.rows.append(
            (tier.name, len(clients), clients[0].asked, min(bounds), *spread(admitted), _of(within, clients))
        )
    return table


def decisions(overload: Overload, outage: Outage) -> Table:
    """How long decisions took before, in and after the outage."""
    table = Table(
        "Decisions before, in and after that outage",
        ("", "decisions", "median, ms", "99 %, ms", "slowest, ms", f"over {LATE_SECONDS * 1000:.0f} ms", "failed"),
        note=f"Redis was gone for {outage.back - outage.killed:.1f} s. The limiters decided with it again "
        f"{', '.join(f'{seconds:.2f}' for seconds in sorted(outage.recovered_after))} s after it answered a PING.",
    )
    for name, holds in _phases(outage).items():
        calls = [call for call in overload.calls if holds(call.sent)]
        table.rows.append((name, *_latencies(calls), sum(call.failed for call in calls)))
    return table


def _phases(outage: Outage) -> dict[str, Callable[[float], bool]]:
    return {
        "before": lambda sent: sent < outage.killed,
        "Redis gone": lambda sent: outage.killed <= sent < outage.back,
        "after": lambda sent: sent >= outage.back,
    }


def _latencies(calls: Sequence[Call]) -> tuple[Cell, ...]:
    times = [call.seconds for call in calls]
    late = sum(seconds > LATE_SECONDS for seconds in times) / len(times)
    milliseconds = [1000 * percentile(times, share) for share in (0.5, 0.99, 1)]
    return len(times), *milliseconds, f"{late:.2%}"


def _by_tier(overload: Overload) -> Iterator[tuple[Tier, list[Client]]]:
    for tier in TIERS:
        yield tier, [client for client in overload.clients if client.tier == tier]


def _of(count: int, clients: Sequence[Client]) -> str:
    return f"{count} of {len(clients)}"


def _keeping_up(overload: Overload) -> str:
    late, latest = (1000 * percentile(overload.lateness, share) for share in (0.99, 1))
    failed = sum(call.failed for call in overload.calls)
    return (
        f"{len(overload.calls)} questions in {max(client.seconds for client in overload.clients):.1f} s, "
        f"99 % of them sent at most {late:.1f} ms after they were due, the last {latest:.1f} ms; {failed} failed."
    )

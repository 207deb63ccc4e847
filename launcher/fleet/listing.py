"""The processes of the mesh as a table for people and as JSON for programs."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from launcher.columns import aligned
from launcher.control.fleet import ProcessRow

_COLUMNS = ("name", "pid", "state", "envoy", "load", "memory", "uptime", "restarts", "version")
_WORDS = 4
_LOAD = ("running", "waiting", "slots")
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def as_table(rows: Sequence[ProcessRow]) -> str:
    """A header and one line for each process, and below that how busy each pool is whose processes have slots."""
    table = aligned([_COLUMNS, *map(_cells, rows)], words=_WORDS)
    return "\n".join([table, *(f"\n{line}" for line in _pools(rows))])


def as_json(rows: Iterable[ProcessRow]) -> str:
    """A list of objects. What a process does not tell is null; `in_envoy` is empty for what is not behind Envoy."""
    return msgspec.json.format(msgspec.json.encode(list(rows)), indent=2).decode()


def _cells(row: ProcessRow) -> Sequence[str]:
    return (
        row.name,
        str(row.pid or "-"),
        row.state,
        row.in_envoy or "-",
        _load(row),
        "-" if row.memory_bytes is None else f"{row.memory_bytes / 2**20:,.0f} MiB",
        _duration(row.uptime_seconds) if row.pid else "-",
        str(row.restarts),
        row.version or "-",
    )


def _load(row: ProcessRow) -> str:
    if row.running is None:
        return "-"
    return str(row.running) if row.slots is None else f"{row.running}+{row.waiting or 0}/{row.slots}"


def _duration(seconds: float) -> str:
    """In the two largest units that are not zero at the front, such as 3h05m."""
    whole = int(seconds)
    for (large, size), (small, part) in itertools.pairwise(_UNITS):
        if whole >= size:
            return f"{whole // size}{large}{whole % size // part:02}{small}"
    return f"{whole}s"


def _pools(rows: Iterable[ProcessRow]) -> Iterator[str]:
    """One line for each service whose ready processes have slots."""
    pools: dict[str, list[ProcessRow]] = {}
    for row in rows:
        if row.slots and row.state == "ready":
            pools.setdefault(row.service, []).append(row)
    for service, ready in pools.items():
        running, waiting, slots = (sum(getattr(row, name) or 0 for row in ready) for name in _LOAD)
        share = (running + waiting) / slots
        yield f"{service}: {len(ready)} ready, {running} running and {waiting} waiting on {slots} slots ({share:.0%})"

"""The numbers of a cache process as tables for people and as JSON for programs."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from launcher.cache.policies import policy_name
from launcher.columns import aligned
from shoal.cache.v1.cache_pb2 import LevelStats, PolicyStats, StatsResponse, Worth

_OWN_LEVEL = "l1"
"""The level that each process has for itself. No process knows what the others hold, which are shared."""
_LEVEL_HEAD = (
    "level", "hits", "misses", "hit rate", "stores", "corrupt", "failures", "evictions", "entries", "bytes",
)  # fmt: skip
_POLICY_HEAD = ("policy", "level", "hits", "stale", "misses", "hit rate", "stores", "corrupt", "failures")
_WORTH_HEAD = ("policy", "fresh for", "tokens saved", "money saved", "too large", "invalidated")


def as_tables(stats: StatsResponse) -> str:
    """Tables of the levels, of the policies at each of their levels, of what that is worth; and whose numbers it is."""
    levels = aligned([_LEVEL_HEAD, *map(_level_cells, stats.levels)], words=1)
    policies = aligned([_POLICY_HEAD, *(row for policy in stats.policies for row in _policy_rows(policy))], words=2)
    worths = aligned([_WORTH_HEAD, *map(_worth_cells, stats.policies)], words=1)
    return f"""\
{stats.replica}, since it started

{levels}

{policies}

{worths}

Each cache process has numbers of its own; these are those of {stats.replica} alone. cache-1 shows its own to Prometheus
at http://127.0.0.1:9111/metrics, cache-2 at port 9112 and so on, plus SHOAL_PORT_SHIFT."""


def as_json(stats: StatsResponse) -> str:
    """One object: `replica`, `levels` and `policies`.

    Rates are null where nothing was looked up, and so is what a level holds that is shared.
    """
    return json.dumps(
        {
            "replica": stats.replica,
            "levels": [_level_object(level) | _held(level) for level in stats.levels],
            "policies": [_policy_object(policy) for policy in stats.policies],
        },
        indent=2,
    )


def _level_cells(level: LevelStats) -> Sequence[str]:
    return (
        level.level, *_counts(level.hits, level.misses), _rate(level.hits, level.misses),
        *_counts(level.stores, level.corrupt, level.failures),
        *("-" if number is None else f"{number:,}" for number in _held(level).values()),
    )  # fmt: skip


def _policy_rows(policy: PolicyStats) -> Iterator[Sequence[str]]:
    """The policy as a whole, and below it what its levels have counted."""
    yield (
        policy_name(policy.policy), "all", *_counts(policy.hits, policy.stale_hits, policy.misses),
        _rate(policy.hits, policy.misses), "", "", "",
    )  # fmt: skip
    for level in policy.levels:
        yield (
            "", level.level, *_counts(level.hits), "", *_counts(level.misses), _rate(level.hits, level.misses),
            *_counts(level.stores, level.corrupt, level.failures),
        )  # fmt: skip


def _worth_cells(policy: PolicyStats) -> Sequence[str]:
    return (
        policy_name(policy.policy), f"{policy.ttl_seconds:,.0f} s",
        *_counts(policy.saved.input_tokens + policy.saved.output_tokens), f"${policy.saved.cost_usd:,.6f}",
        *_counts(policy.too_large, policy.invalidated),
    )  # fmt: skip


def _policy_object(policy: PolicyStats) -> dict[str, Any]:
    return {
        "policy": policy_name(policy.policy),
        "hits": policy.hits,
        "stale_hits": policy.stale_hits,
        "misses": policy.misses,
        "hit_rate": _share(policy.hits, policy.misses),
        "too_large": policy.too_large,
        "invalidated": policy.invalidated,
        "ttl_seconds": policy.ttl_seconds,
        "saved": worth_object(policy.saved),
        "levels": [_level_object(level) for level in policy.levels],
    }


def _level_object(level: LevelStats) -> dict[str, Any]:
    return {
        "level": level.level,
        "hits": level.hits,
        "misses": level.misses,
        "hit_rate": _share(level.hits, level.misses),
        "stores": level.stores,
        "corrupt": level.corrupt,
        "failures": level.failures,
    }


def _held(level: LevelStats) -> dict[str, int | None]:
    """In the order of the table's columns."""
    is_told = level.level == _OWN_LEVEL
    return {name: getattr(level, name) if is_told else None for name in ("evictions", "entries", "size_bytes")}


def worth_object(worth: Worth) -> dict[str, Any]:
    """What an answer took, or hits have saved; the price in US dollars."""
    return {"input_tokens": worth.input_tokens, "output_tokens": worth.output_tokens, "cost_usd": worth.cost_usd}


def _counts(*numbers: int) -> Iterator[str]:
    return (f"{number:,}" for number in numbers)


def _share(hits: int, misses: int) -> float | None:
    return hits / (hits + misses) if hits + misses else None


def _rate(hits: int, misses: int) -> str:
    share = _share(hits, misses)
    return "-" if share is None else f"{share:.1%}"

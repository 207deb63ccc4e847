"""Rules for the descriptors of other Envoys: which limit a descriptor meets, and the bucket that it spends from.

The rules form a tree with one level for each entry of a descriptor, and match as those of envoyproxy/ratelimit do: at
each level first the rule with the entry's key and value, then the first whose value ends in `*` and begins it, then the
one with the key alone. Only a rule as deep as the descriptor is long counts.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Self

from services.ratelimit.buckets.bucket import Limit

HOUR_SECONDS = 3600
DAY_SECONDS = 24 * HOUR_SECONDS
WILDCARD = "*"
OUR_DOMAIN = "shoal"
"""The domain of our own Envoy, whose limits are not made of descriptors."""


class Unit(StrEnum):
    """The time that a number of requests is for."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"

    @property
    def seconds(self) -> int:
        """A month is 30 days and a year 365, as for envoyproxy/ratelimit."""
        return {
            Unit.SECOND: 1,
            Unit.MINUTE: 60,
            Unit.HOUR: HOUR_SECONDS,
            Unit.DAY: DAY_SECONDS,
            Unit.WEEK: 7 * DAY_SECONDS,
            Unit.MONTH: 30 * DAY_SECONDS,
            Unit.YEAR: 365 * DAY_SECONDS,
        }[self]


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests per unit."""

    requests_per_unit: int
    unit: Unit
    limit: Limit | None
    """The size of the buckets; None if nothing may ever pass."""

    @classmethod
    def of(cls, requests_per_unit: int, unit: Unit, *, burst: int | None = None) -> Self:
        """`burst` is how many may come at once, all of a unit without it. Raises ValueError for what is no limit."""
        if requests_per_unit == 0:
            return cls(0, unit, None)
        return cls(requests_per_unit, unit, Limit.per(requests_per_unit, unit.seconds, capacity=burst))


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for a descriptor."""

    rate: Rate | None
    """None: it is unlimited."""
    name: str = ""
    replaces: frozenset[str] = frozenset()
    """The names of rules that do not count for a question which meets this one as well."""
    shadow: bool = False
    """Whether it refuses nothing: what it would have refused is counted."""


class Entry(NamedTuple):
    """One part of a descriptor. A value may be any bytes."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Branch:
    """A place in the tree: the rule for descriptors that end here, and what follows for longer ones."""

    key: str
    value: str = ""
    """Empty for any value; with `*` at its end, for those that begin so."""
    rule: Rule | None = None
    shares_bucket: bool = False
    """Whether all values that a `*` stands for spend from one bucket."""
    branches: "Level" = field(default_factory=lambda: Level([]))


class Level:
    """Branches beside each other, no two with the same key and value."""

    def __init__(self, branches: Iterable[Branch]) -> None:
        self._exact: dict[Entry, Branch] = {}
        self._wildcards: dict[str, list[tuple[bytes, Branch]]] = {}
        for branch in branches:
            if branch.value.endswith(WILDCARD):
                beginning = branch.value.removesuffix(WILDCARD).encode()
                self._wildcards.setdefault(branch.key, []).append((beginning, branch))
            else:
                self._exact[Entry(branch.key, branch.value.encode())] = branch

    def find(self, entry: Entry) -> Branch | None:
        if entry.value and (exact := self._exact.get(entry)):
            return exact
        for beginning, branch in self._wildcards.get(entry.key, ()):
            if entry.value.startswith(beginning):
                return branch
        return self._exact.get(Entry(entry.key, b""))


@dataclass(frozen=True, slots=True)
class Match:
    """The rule that a descriptor meets, and the bucket that it spends from."""

    rule: Rule
    bucket: str


class Domain:
    """The rules of one domain."""

    def __init__(self, name: str, branches: Level) -> None:
        self.name = name
        self._branches = branches

    def match(self, entries: Sequence[Entry], override: Rate | None = None) -> Match | None:
        """What a descriptor meets; `override` is a limit that came with it, and holds in place of any rule's."""
        if override:
            return Match(Rule(override), self._bucket(entries, [False] * len(entries), override))
        level, rule, shared, effective = self._branches, None, [], []
        for entry in entries:
            branch = level.find(entry)
            if branch is None:
                return None
            shared.append(branch.shares_bucket)
            effective.append(Entry(entry.key, branch.value.encode()) if branch.shares_bucket else entry)
            level, rule = branch.branches, branch.rule
        return Match(rule, self._bucket(effective, shared, None)) if rule else None

    def _bucket(self, entries: Sequence[Entry], shared: Sequence[bool], override: Rate | None) -> str:
        """A name of bounded length that no other descriptor has: every part of the digest is led by its length."""
        parts = [self.name.encode()]
        for entry, is_shared in zip(entries, shared, strict=True):
            parts += (entry.key.encode(), b"*" if is_shared else b"=", entry.value)
        if override:
            parts.append(f"{override.requests_per_unit} per {override.unit}".encode())
        digest = hashlib.blake2b(digest_size=16)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return f"rls:{digest.hexdigest()}"

"""The levels as one cache: looks from near to far, keeps what it finds nearer, and passes over levels that fail."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from services.cache.counts import Counts
from services.cache.entry import Entry
from services.cache.levels.level import CorruptEntryError, Holdings, Level, LevelUnavailableError
from services.cache.policies import LevelName, Policy

IsValid = Callable[[Entry], bool]
"""Whether an entry was not invalidated."""


Found = tuple[Entry, LevelName]
"""A live entry and the level that had it."""


@dataclass(frozen=True, slots=True)
class Miss:
    """No live entry that is valid; `was_invalidated` if there is one that is not valid any more."""

    was_invalidated: bool = False


class Hierarchy:
    """Walks the levels that a policy names, and counts what happens there. `now` is Unix time in seconds."""

    def __init__(self, levels: Mapping[LevelName, Level], counts: Counts) -> None:
        """`levels` has at least those that any policy names."""
        self._levels = levels
        self._counts = counts

    async def get(self, key: str, policy: Policy, now: float, is_valid: IsValid) -> Found | Miss:
        """The nearest fresh entry that is valid, else the newest stale one, of equals the nearest.

        An invalid entry is none: a farther level may have another. Behind a stale one there may be a fresh one that
        another process has put there. The levels walked over that had none, or a worse one, are given what was found as
        it is, so that it expires when it would have.
        """
        best: Found | None = None
        asked: list[LevelName] = []
        lacking: list[LevelName] = []
        was_invalidated = False
        for name in policy.levels:
            try:
                entry = await self._look(name, key, policy, now, is_valid)
            except LevelUnavailableError:
                continue
            asked.append(name)
            if isinstance(entry, Miss):
                lacking.append(name)
                was_invalidated |= entry.was_invalidated
                continue
            is_fresh = not entry.is_stale(now)
            if best is None or is_fresh or entry.is_newer_than(best[0]):
                lacking += [best[1]] if best else []
                best = entry, name
            if is_fresh:
                break
        self._count(policy, asked, answered_by=best[1] if best else None)
        if best is None:
            return Miss(was_invalidated)
        await self._store(lacking, key, best[0], policy, now, promoted=True)
        return best

    async def put(self, key: str, entry: Entry, policy: Policy, now: float) -> bool:
        """Keeps the entry at the policy's levels. False if none of them kept it."""
        return await self._store(policy.levels, key, entry, policy, now)

    async def inspect(self, key: str, policy: Policy, now: float) -> tuple[list[Found], list[LevelName]]:
        """What each level has, nearest first, and the levels that could not be asked. Nothing is promoted or
        counted."""
        found: list[Found] = []
        failed: list[LevelName] = []
        for name in policy.levels:
            try:
                entry = await self._levels[name].get(key, now)
            except LevelUnavailableError:
                failed.append(name)
            except CorruptEntryError:
                continue
            else:
                found += [(entry, name)] if entry else []
        return found, failed

    def holdings(self) -> Mapping[LevelName, Holdings | None]:
        """What each level holds, nearest first; None for those that are shared."""
        return {name: level.holdings() for name, level in self._levels.items()}

    async def _look(self, name: LevelName, key: str, policy: Policy, now: float, is_valid: IsValid) -> Entry | Miss:
        """The valid entry at one level. Raises LevelUnavailableError."""
        in_policy = self._counts[policy.name]
        counts = in_policy.levels[name]
        try:
            entry = await self._levels[name].get(key, now)
        except LevelUnavailableError:
            counts.failures += 1
            raise
        except CorruptEntryError:
            counts.corrupt += 1
            entry = None
        if entry is not None and is_valid(entry):
            return entry
        was_invalidated = entry is not None
        in_policy.invalidated += was_invalidated
        return Miss(was_invalidated)

    def _count(self, policy: Policy, asked: Iterable[LevelName], *, answered_by: LevelName | None) -> None:
        """One hit or miss for each level asked, so that the levels' hits add up to those of the policy."""
        for name in asked:
            counts = self._counts[policy.name].levels[name]
            counts.hits += name == answered_by
            counts.misses += name != answered_by

    async def _store(
        self,
        names: Iterable[LevelName],
        key: str,
        entry: Entry,
        policy: Policy,
        now: float,
        *,
        promoted: bool = False,
    ) -> bool:
        kept_anywhere = False
        for name in names:
            counts = self._counts[policy.name].levels[name]
            try:
                kept = await self._levels[name].put(key, entry, policy, now, promoted=promoted)
            except LevelUnavailableError:
                counts.failures += 1
                continue
            counts.stores += kept
            kept_anywhere |= kept
        return kept_anywhere

"""What the cache does with answers: looks them up, keeps them, and shows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from random import Random

from services.cache.counts import Counts
from services.cache.draft import Draft
from services.cache.entry import Entry, Worth
from services.cache.generations.generation_watcher import GenerationWatcher
from services.cache.generations.generations import Generations
from services.cache.hierarchy import Found, Hierarchy, Miss
from services.cache.leases import Leases
from services.cache.place import ALONE, Place, Whole
from services.cache.policies import LevelName, Policy, PolicyName
from services.cache.ttl_tuning import TunedTtl

JITTER = 0.1
"""At most this share of a time to live is taken off, so that what was stored together does not expire together, and
nothing is given out for longer than was promised."""


@dataclass(frozen=True, slots=True)
class Lead:
    """The caller computes the answer, in this generation; with `anew` what it is made of too, since the answer that was
    here has been invalidated."""

    generation: int
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer and the level that had it; `renewal` if it is stale and this caller shall compute it anew."""

    entry: Entry
    level: LevelName
    renewal: Lead | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry as one level has it."""

    entry: Entry
    level: LevelName
    is_invalidated: bool


@dataclass(frozen=True, slots=True)
class Inspection:
    """What each level has, nearest first, and the levels that could not be asked."""

    shown: tuple[Shown, ...]
    failed: tuple[LevelName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On which terms an answer is kept, as its caller says when it begins to hand it in."""

    generation: int
    """That of the lead."""
    tags: tuple[str, ...] = ()
    ttl_seconds: float | None = None
    """How long it is fresh; None as the policy says."""


class Answers:
    """The cache of one process. `now` is Unix time in seconds."""

    def __init__(
        self,
        *,
        policies: Mapping[PolicyName, Policy],
        hierarchy: Hierarchy,
        generations: Generations,
        watcher: GenerationWatcher,
        leases: Leases,
        ttls: Mapping[PolicyName, TunedTtl],
        counts: Counts,
        random: Random,
    ) -> None:
        self._policies = policies
        self._hierarchy = hierarchy
        self._generations = generations
        self._watcher = watcher
        self._leases = leases
        self._ttls = ttls
        self._counts = counts
        self._random = random

    async def open(self, place: Place, *, whole: Whole, refresh: bool, only: bool, now: float) -> Hit | Lead:
        """The answer, or the lead to compute it. With `refresh` nothing is looked up; with `only` nobody computes, so
        there is no renewal.

        What is found here becomes a part of `whole`, which other processes take for as new as its lead: so nothing is
        found before this process has heard as much as the one that gave the lead.
        """
        has_heard = await self._watcher.hear_up_to(whole.generation)
        if refresh:
            return self._lead()
        counts = self._counts[place.policy]
        found = await self._found(place, whole, now) if has_heard else Miss()
        if isinstance(found, Miss):
            counts.misses += 1
            return self._lead(anew=found.was_invalidated)
        entry, level = found
        is_stale = entry.is_stale(now)
        renewal = await self._renewal(place) if is_stale and not only else None
        counts.count_hit(Worth() if renewal else entry.worth, is_stale=is_stale)
        return Hit(entry, level, renewal)

    def draft(self, policy: PolicyName) -> Draft:
        """What an answer of this kind is collected in."""
        rules = self._policies[policy]
        return Draft(max_bytes=rules.max_bytes, keeps_last=rules.keeps_last)

    async def keep(self, place: Place, draft: Draft, terms: Terms, worth: Worth, now: float) -> Entry | None:
        """Keeps the answer at the policy's levels. None if it is too large, has been invalidated since the lead, or no
        level kept it."""
        policy, counts = self._policies[place.policy], self._counts[place.policy]
        if not draft.fits:
            counts.too_large += 1
            return None
        entry = self._entry(policy, draft, terms, worth, now)
        if not self._is_valid(place, ALONE, entry):
            counts.invalidated += 1
            return None
        return entry if await self._hierarchy.put(place.storage_key, entry, policy, now) else None

    async def inspect(self, place: Place, now: float) -> Inspection:
        """What the levels have there, invalidated or not. It counts as no use."""
        found, failed = await self._hierarchy.inspect(place.storage_key, self._policies[place.policy], now)
        shown = (Shown(entry, level, not self._is_valid(place, ALONE, entry)) for entry, level in found)
        return Inspection(tuple(shown), tuple(failed))

    async def _found(self, place: Place, whole: Whole, now: float) -> Found | Miss:
        is_valid = partial(self._is_valid, place, whole)
        return await self._hierarchy.get(place.storage_key, self._policies[place.policy], now, is_valid)

    def _lead(self, *, anew: bool = False) -> Lead:
        return Lead(self._generations.latest, anew)

    async def _renewal(self, place: Place) -> Lead | None:
        """The lead for the one caller of all who gets to renew a stale answer."""
        seconds = self._policies[place.policy].renewal_seconds
        has_lease = await self._leases.take(f"renewal/{place.storage_key}", seconds=seconds)
        return self._lead() if has_lease else None

    def _is_valid(self, place: Place, whole: Whole, entry: Entry) -> bool:
        return self._generations.is_valid(entry.generation, place.scopes(entry.tags, whole))

    def _entry(self, policy: Policy, draft: Draft, terms: Terms, worth: Worth, now: float) -> Entry:
        ttl_seconds = terms.ttl_seconds or self._ttls[policy.name].seconds
        return Entry(
            events=draft.events,
            created=now,
            ttl_seconds=ttl_seconds * (1 - self._random.uniform(0, JITTER)),
            stale_seconds=policy.stale_seconds,
            generation=self._known(terms.generation),
            tags=terms.tags,
            worth=worth,
        )

    def _known(self, generation: int) -> int:
        """No later than the latest that this process has heard of: nobody outlives invalidations to come by naming a
        generation that is not there yet."""
        return min(generation, self._generations.latest)

"""Decides on the questions of other Envoys: descriptors of a domain, each with its hits."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from meshkit.errors import field_invalid
from services.ratelimit.buckets.bucket import Holding, Limit, Mode, Spend
from services.ratelimit.buckets.bucket_store import BucketStore
from services.ratelimit.domains.domain import Domain, Entry, Match, Rate, Rule


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One of the things that a question is about.

    Negative `hits` give back. With 0 the answer is what it would be for one hit, and nothing is taken.
    """

    entries: tuple[Entry, ...]
    hits: int = 1
    override: Rate | None = None
    """A limit that holds in place of the configured one."""


@dataclass(frozen=True, slots=True)
class Status:
    """The answer to one descriptor. Without a rule nothing limits it; without a holding no bucket paid for it."""

    rule: Rule | None = None
    holding: Holding | None = None
    refused: bool = False
    """For a rule in shadow: whether it would have been."""

    @property
    def over_limit(self) -> bool:
        return self.refused and not (self.rule and self.rule.shadow)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question: the hits of all its descriptors were taken, or those of none."""

    statuses: tuple[Status, ...]
    """In the order of the descriptors."""
    retry_after_micros: int | None
    """How long until the same question would pass if nobody else asks; 0 if it does, None if it never will."""

    @property
    def over_limit(self) -> bool:
        return any(status.over_limit for status in self.statuses)


@dataclass(slots=True)
class _Wish:
    """What all descriptors of a question that share a bucket want of it."""

    bucket: str
    limit: Limit
    mode: Mode
    cost: int = 0
    looks: bool = False
    """Whether one of them only looks."""

    @property
    def needed(self) -> int:
        """How many tokens must be there."""
        return max(self.cost, int(self.looks and not self.cost))

    @property
    def is_hopeless(self) -> bool:
        return self.needed > self.limit.capacity

    def add(self, hits: int) -> None:
        self.cost += hits
        self.looks = self.looks or hits == 0

    def spend(self) -> Spend:
        """What is given back fills the bucket at most; what a bucket in shadow never holds is not taken."""
        cost = 0 if self.is_hopeless else max(self.cost, -self.limit.capacity)
        return Spend(self.bucket, self.limit, cost, self.mode)

    def look(self) -> Spend:
        return Spend(self.bucket, self.limit, 0, self.mode)

    def wait_micros(self, holding: Holding) -> int:
        """How long a bucket that was looked into needs until it holds enough, to the microsecond or one more.

        A share of a bucket may hold less than the time until all of it is full tells.
        """
        if holding.remaining >= self.needed:
            return 0
        enough = self.needed * self.limit.grains_per_token
        return max(1, 1 + holding.full_in_micros - self.limit.micros_to_gain(self.limit.full - enough))


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a wish. It waits for ever, None, for more than the bucket can hold."""

    wish: _Wish
    holding: Holding
    wait_micros: int | None

    @property
    def refuses(self) -> bool:
        return self.wait_micros != 0 and self.wish.mode is Mode.ENFORCED


class DescriptorLimiter:
    """Decides by the rules that `domains` tells at the moment."""

    def __init__(self, *, buckets: BucketStore, domains: Callable[[], Mapping[str, Domain]]) -> None:
        self._buckets = buckets
        self._domains = domains

    async def ask(self, domain: str, asked: Iterable[Descriptor]) -> Answer:
        """Nothing of what is asked is read if the domain is unknown.

        Raises ShoalError for a question that cannot be answered, and what the buckets raise.
        """
        rules = self._domains().get(domain)
        if rules is None:
            raise field_invalid("domain", "be a domain that the limiter is configured with")
        descriptors = tuple(asked)
        _check_keys(descriptors)
        matches = _standing([rules.match(each.entries, each.override) for each in descriptors])
        closed = any(
            match and not match.rule.shadow and _is_closed(match.rule) and descriptor.hits >= 0
            for descriptor, match in zip(descriptors, matches, strict=True)
        )
        outcomes = await self._outcomes(_wishes(descriptors, matches), closed=closed)
        by_bucket = {outcome.wish.bucket: outcome for outcome in outcomes}
        return Answer(
            tuple(_status(each, match, by_bucket) for each, match in zip(descriptors, matches, strict=True)),
            None if closed else _retry_after_micros(outcomes),
        )

    async def _outcomes(self, wishes: Sequence[_Wish], *, closed: bool) -> list[_Outcome]:
        """Takes everything or nothing; nothing if the question is refused for another reason already, or if one who
        only looks would be refused."""
        hopeless = closed or any(wish.is_hopeless and wish.mode is Mode.ENFORCED for wish in wishes)
        paying = [wish for wish in wishes if wish.cost]
        if not hopeless and len(paying) == len(wishes):
            return await self._spend(paying)
        looked = await self._look(wishes)
        if hopeless or not paying or any(outcome.refuses for outcome in looked):
            return looked
        return [*(outcome for outcome in looked if not outcome.wish.cost), *await self._spend(paying)]

    async def _look(self, wishes: Sequence[_Wish]) -> list[_Outcome]:
        holdings = await self._take([wish.look() for wish in wishes])
        return [_outcome(wish, held, wish.wait_micros) for wish, held in zip(wishes, holdings, strict=True)]

    async def _spend(self, wishes: Sequence[_Wish]) -> list[_Outcome]:
        holdings = await self._take([wish.spend() for wish in wishes])
        return [_outcome(wish, held, _told_wait) for wish, held in zip(wishes, holdings, strict=True)]

    async def _take(self, spends: Sequence[Spend]) -> Sequence[Holding]:
        return (await self._buckets.take(spends)).holdings if spends else ()


def _check_keys(descriptors: Sequence[Descriptor]) -> None:
    if not all(entry.key for descriptor in descriptors for entry in descriptor.entries):
        raise field_invalid("descriptors", "have a key in every entry")


def _standing(matches: Sequence[Match | None]) -> list[Match | None]:
    """Without those that others replace."""
    replaced = {name for match in matches if match for name in match.rule.replaces}
    return [None if match and match.rule.name in replaced else match for match in matches]


def _is_closed(rule: Rule) -> bool:
    """Whether nothing ever passes."""
    return rule.rate is not None and rule.rate.limit is None


def _wishes(descriptors: Sequence[Descriptor], matches: Sequence[Match | None]) -> list[_Wish]:
    wishes: dict[str, _Wish] = {}
    for descriptor, match in zip(descriptors, matches, strict=True):
        if match and match.rule.rate and match.rule.rate.limit:
            mode = Mode.SHADOW if match.rule.shadow else Mode.ENFORCED
            wish = wishes.setdefault(match.bucket, _Wish(match.bucket, match.rule.rate.limit, mode))
            wish.add(descriptor.hits)
    return list(wishes.values())


def _outcome(wish: _Wish, holding: Holding, wait_micros: Callable[[Holding], int]) -> _Outcome:
    return _Outcome(wish, holding, None if wish.is_hopeless else wait_micros(holding))


def _told_wait(holding: Holding) -> int:
    return holding.wait_micros


def _status(descriptor: Descriptor, match: Match | None, outcomes: Mapping[str, _Outcome]) -> Status:
    if match is None:
        return Status()
    if _is_closed(match.rule):
        return Status(match.rule, refused=descriptor.hits >= 0)
    outcome = outcomes.get(match.bucket)
    return Status(match.rule, outcome.holding, outcome.wait_micros != 0) if outcome else Status(match.rule)


def _retry_after_micros(outcomes: Sequence[_Outcome]) -> int | None:
    waits = [outcome.wait_micros for outcome in outcomes if outcome.refuses]
    return None if None in waits else max((wait for wait in waits if wait), default=0)

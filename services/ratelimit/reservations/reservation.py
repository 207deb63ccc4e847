"""Reserve, then settle: model tokens that are set aside before a call, and places for calls that run at one time.

A reservation takes its tokens from a bucket and one of the caller's places. Settling frees the place and puts what was
really used in place of what was set aside. One that nobody settles expires: its place is free, and its tokens are given
back. `reservation.lua` does the same. Times are whole microseconds.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

from services.ratelimit.buckets.bucket import (
    LARGEST_CAPACITY,
    MICROS_PER_SECOND,
    Holding,
    Level,
    Limit,
    holding,
    refilled,
)
from services.ratelimit.limits import CallerLimits

SHORTEST_TTL_MICROS = MICROS_PER_SECOND
LONGEST_TTL_MICROS = 3600 * MICROS_PER_SECOND
SETTLED_MICROS = 3600 * MICROS_PER_SECOND
"""How long it is remembered that a name was settled."""
MOST_TOKENS = LARGEST_CAPACITY
"""No reservation and no settlement is about more."""


class Outcome(IntEnum):
    """What became of an operation."""

    NOTHING_DONE = 0
    """The limits refuse the reservation; there is none to renew; the name was settled before."""
    DONE = 1
    """Also when the reservation was there already."""
    NAME_SPENT = 2
    """The name of the reservation that was asked for has been settled."""


@dataclass(frozen=True, slots=True)
class Places:
    """A limit of concurrent calls after an operation."""

    capacity: int
    taken: int
    """How many reservations run; more than the capacity under a shadow."""
    was_full: bool
    """Whether there was no place for the reservation that was asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an operation, and what the caller has after it; None for a kind that is not limited.

    The wait of `model_tokens` is 0 unless they were too few for the reservation that was asked for.
    """

    outcome: Outcome
    model_tokens: Holding | None = None
    places: Places | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A wish for a reservation of 0 to 2**32 - 1 tokens, which lasts 1 s to 1 h unless it is renewed."""

    name: str
    tokens: int
    ttl_micros: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """A reservation that was made."""

    expires: int
    tokens: int | None
    """What it took from the bucket. None: it took nothing since tokens were not limited then, or since a shadow held
    too few; it will not be charged either, for the shadow shows what would be if it had refused."""


class Account:
    """The reservations and the bucket of model tokens of one caller.

    Every operation first ends what has expired. Nothing else is changed by a refusal.
    """

    def __init__(self) -> None:
        self._level: Level | None = None
        self._running: dict[str, Reservation] = {}
        self._settled: dict[str, int] = {}
        """When each name that was settled is forgotten."""

    def reserve(self, limits: CallerLimits, request: Request, now: int) -> Answer:
        """Takes the tokens and a place, or neither."""
        self._end_expired(limits, now)
        if request.name in self._settled:
            return self._answer(limits, Outcome.NAME_SPENT, now)
        if request.name in self._running:
            return self._answer(limits, Outcome.DONE, now)
        too_few = self._holds_too_few(limits, request.tokens, now)
        no_place = limits.concurrent is not None and len(self._running) >= limits.concurrent.calls
        outcome = Outcome.NOTHING_DONE if _is_refused(limits, too_few, no_place) else Outcome.DONE
        if outcome is Outcome.DONE:
            taken = None if too_few or limits.model_tokens is None else request.tokens
            self._running[request.name] = Reservation(now + request.ttl_micros, taken)
            self._give(limits, -(taken or 0), now)
        return self._answer(limits, outcome, now, too_few_for=request.tokens if too_few else None, no_place=no_place)

    def renew(self, limits: CallerLimits, name: str, ttl_micros: int, now: int) -> Answer:
        """Makes a reservation last that long from now on, if it is still there."""
        self._end_expired(limits, now)
        kept = self._running.get(name)
        if kept is None:
            return self._answer(limits, Outcome.NOTHING_DONE, now)
        self._running[name] = replace(kept, expires=now + ttl_micros)
        return self._answer(limits, Outcome.DONE, now)

    def settle(self, limits: CallerLimits, name: str, used: int, now: int) -> Answer:
        """Charges for what was used in place of what was reserved, once for each name.

        A name that is not there has expired, or was never reserved, which nobody can tell apart: what was used is
        charged. One settlement takes at most one capacity more than was reserved.
        """
        self._end_expired(limits, now)
        if name in self._settled:
            return self._answer(limits, Outcome.NOTHING_DONE, now)
        self._settled[name] = now + SETTLED_MICROS
        kept = self._running.pop(name, None)
        if kept is None:
            self._give(limits, -used, now)
        elif kept.tokens is not None:
            self._give(limits, kept.tokens - used, now)
        return self._answer(limits, Outcome.DONE, now)

    def peek(self, limits: CallerLimits, now: int) -> Answer:
        self._end_expired(limits, now)
        return self._answer(limits, Outcome.DONE, now)

    def _end_expired(self, limits: CallerLimits, now: int) -> None:
        self._settled = {name: until for name, until in self._settled.items() if until > now}
        self._give(limits, 0, now)
        for name, kept in list(self._running.items()):
            if kept.expires <= now:
                del self._running[name]
                self._give(limits, kept.tokens or 0, now)
            elif kept.expires > now + LONGEST_TTL_MICROS:
                # The clock stepped back; nothing lasts longer than it could if it was made now.
                self._running[name] = replace(kept, expires=now + LONGEST_TTL_MICROS)

    def _holds_too_few(self, limits: CallerLimits, tokens: int, now: int) -> bool:
        """Whether the bucket cannot pay. A debt comes first, even if no tokens are asked for."""
        if limits.model_tokens is None:
            return False
        limit = limits.model_tokens.limit
        return self._grains(limit, now) < tokens * limit.grains_per_token

    def _give(self, limits: CallerLimits, tokens: int, now: int) -> None:
        """Gives tokens to the bucket, or takes them: at most one capacity, and between a full bucket and as much debt.

        A level from the future, left by a clock that stepped back, is always remembered anew.
        """
        if limits.model_tokens is None:
            return
        limit = limits.model_tokens.limit
        before = self._grains(limit, now)
        given = max(-limit.capacity, min(limit.capacity, tokens)) * limit.grains_per_token
        after = max(-limit.full, min(limit.full, before + given))
        if after != before or (self._level is not None and self._level.at > now):
            self._level = Level(after, now, limit.grains_per_token)

    def _grains(self, limit: Limit, now: int) -> int:
        return max(-limit.full, refilled(limit, self._level, now))

    def _answer(
        self,
        limits: CallerLimits,
        outcome: Outcome,
        now: int,
        *,
        too_few_for: int | None = None,
        no_place: bool = False,
    ) -> Answer:
        grains = self._grains(limits.model_tokens.limit, now) if limits.model_tokens else 0
        running = len(self._running)
        return answer(limits, outcome, grains=grains, too_few_for=too_few_for, running=running, no_place=no_place)


def answer(
    limits: CallerLimits, outcome: Outcome, *, grains: int, too_few_for: int | None, running: int, no_place: bool
) -> Answer:
    """The answer to a caller whose bucket holds `grains`: too few for so many tokens, if any were too many."""
    tokens, concurrent = limits.model_tokens, limits.concurrent
    return Answer(
        outcome,
        _holding(tokens.limit, grains, too_few_for) if tokens else None,
        Places(concurrent.calls, running, no_place) if concurrent else None,
    )


def _holding(limit: Limit, grains: int, too_few_for: int | None) -> Holding:
    wait = 0 if too_few_for is None else limit.micros_to_gain(too_few_for * limit.grains_per_token - grains)
    return holding(limit, grains, wait)


def _is_refused(limits: CallerLimits, too_few: bool, no_place: bool) -> bool:
    by_tokens = too_few and limits.model_tokens is not None and not limits.model_tokens.shadow
    by_places = no_place and limits.concurrent is not None and not limits.concurrent.shadow
    return by_tokens or by_places

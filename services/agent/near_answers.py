"""The cache as turns see it, with what was found in it a moment ago at hand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from meshkit import call, near_cache
from meshkit.near_cache import Near, NearCache
from services.agent.conversation import AnswerEvent, Delta, Usage
from services.agent.ports import AnswerCache, CachedAnswer, CachedKind, Lead, Lifetime

EVENT_BYTES = 128
"""What an event takes besides its text."""
BYTES_PER_CHARACTER = 2
"""Between what Latin and what other scripts take in memory."""


class Hits(Protocol):
    """What is counted of answers that were repeated."""

    def count(self, input_tokens: int, output_tokens: int, cost_usd: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Found:
    """An answer as the cache had it when it was asked with these tags: it is newer than the invalidation of each."""

    answer: CachedAnswer
    tags: frozenset[str]


class NearAnswers:
    """An AnswerCache in front of another: whole answers that were found fresh are repeated for a moment."""

    def __init__(self, cache: AnswerCache, *, found: NearCache[Found], hits: Hits, clock: Callable[[], float]) -> None:
        """`clock` is the monotonic clock of `found`, in seconds."""
        self._cache = cache
        self._found = found
        self._hits = hits
        self._clock = clock

    async def open(
        self,
        key: str,
        kind: CachedKind,
        *,
        part_of: str = "",
        tags: Sequence[str] = (),
        generation: int = 0,
        refresh: bool = False,
        only: bool = False,
    ) -> CachedAnswer | Lead | None:
        is_near = kind is CachedKind.RESPONSE and not (part_of or generation or refresh)
        asked_at = self._clock()
        if is_near and (near := self._near(key, tags, asked_at)):
            return near
        opened = await self._cache.open(
            key, kind, part_of=part_of, tags=tags, generation=generation, refresh=refresh, only=only
        )
        if is_near and isinstance(opened, CachedAnswer) and not (opened.is_stale or opened.renewal):
            found = Found(replace(opened, level=near_cache.LEVEL), frozenset(tags))
            self._found.keep(_near_key(key), found, asked_at=asked_at, size=_size(opened.events))
        return opened

    async def keep(
        self,
        lead: Lead,
        *,
        model: str,
        events: Sequence[AnswerEvent],
        tags: Sequence[str] = (),
        ttl_seconds: int | None = None,
    ) -> Lifetime | None:
        try:
            return await self._cache.keep(lead, model=model, events=events, tags=tags, ttl_seconds=ttl_seconds)
        finally:
            # Whether or not it was kept: nobody may know.
            if lead.kind is CachedKind.RESPONSE:
                self._found.forget(_near_key(lead.key), self._clock())

    def _near(self, key: str, tags: Sequence[str], now: float) -> CachedAnswer | None:
        """What was found a moment ago by who asked with all of these tags, if it is still fresh."""
        near = self._found.find(_near_key(key), now)
        if near is None or not near.value.tags.issuperset(tags):
            return None
        answer = _aged(near)
        if answer.is_stale:
            return None
        for event in answer.events:
            if isinstance(event, Usage):
                self._hits.count(event.input_tokens, event.output_tokens, event.cost_usd)
        return answer


def _near_key(key: str) -> str:
    """Answers are the tenant's own, whatever their keys are."""
    return f"{key}/{call.current().identity.tenant}"


def _aged(near: Near[Found]) -> CachedAnswer:
    answer = near.value.answer
    return replace(answer, age_seconds=answer.age_seconds + near.seconds_ago)


def _size(events: Sequence[AnswerEvent]) -> int:
    texts = sum(len(event.text) for event in events if isinstance(event, Delta))
    return texts * BYTES_PER_CHARACTER + len(events) * EVENT_BYTES

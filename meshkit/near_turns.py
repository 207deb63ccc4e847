"""Whole turns that were answered from the cache a moment ago, and are repeated without asking again."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from meshkit import near_cache
from meshkit.identity import Authentication, Identity
from meshkit.metrics import NearHits
from meshkit.near_cache import NearCache
from shoal.agent.v1 import agent_pb2 as pb

_REPEATED_TO = (Authentication.API_KEY, Authentication.ANONYMOUS)
"""Not to those about whom nobody knows."""
_REPEATED_MODES = (pb.CACHE_MODE_UNSPECIFIED, pb.CACHE_MODE_DEFAULT, pb.CACHE_MODE_ONLY)


@dataclass(frozen=True, slots=True)
class Found:
    """An answer as the cache had it, when it was asked with these tags."""

    answer: pb.ExecuteResponse
    tags: frozenset[str]


class NearTurns:
    """Remembers what turns found in the cache. Moments are on the monotonic clock of the near cache, in seconds."""

    def __init__(
        self,
        cache: NearCache[Found],
        *,
        hits: NearHits,
        replica: str,
        mint_id: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        """`replica` is who says so, `mint_id` makes the id of a turn, `clock` is Unix time in seconds."""
        self._cache = cache
        self._hits = hits
        self._replica = replica
        self._mint_id = mint_id
        self._clock = clock

    def find(self, turn: pb.ExecuteRequest, caller: Identity, now: float) -> pb.ExecuteResponse | None:
        """The answer to a turn that asks the same with no other tags, if that is fresh and was found a moment ago."""
        if not _may_be_repeated(turn, caller):
            return None
        near = self._cache.find(_question(turn, caller), now)
        if near is None or not near.value.tags.issuperset(turn.cache.tags):
            return None
        # The answer's age at the moment of the question, so its age now is at most this (RFC 9111, 4.2.3).
        answer = near.value.answer
        age_seconds = answer.cache.age_seconds + near.seconds_ago
        if age_seconds >= answer.cache.ttl_seconds:
            return None
        self._hits.count(answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.cost_usd)
        return self._repeated(answer, turn, age_seconds)

    def learn(self, turn: pb.ExecuteRequest, caller: Identity, answer: pb.ExecuteResponse, *, asked_at: float) -> None:
        """Remembers an answer that came from the cache. A process that repeats it itself is not a cache."""
        report = answer.cache
        found = report.status == pb.CACHE_STATUS_HIT and not report.stale and report.level != near_cache.LEVEL
        if found and report.ttl_seconds and _may_be_repeated(turn, caller):
            self._cache.keep(
                _question(turn, caller),
                Found(answer, frozenset(turn.cache.tags)),
                asked_at=asked_at,
                size=answer.ByteSize(),
            )

    def forget(self, turn: pb.ExecuteRequest, caller: Identity, now: float) -> None:
        """Called when a turn has put another answer in place of the kept one."""
        self._cache.forget(_question(turn, caller), now)

    def _repeated(self, found: pb.ExecuteResponse, turn: pb.ExecuteRequest, age_seconds: float) -> pb.ExecuteResponse:
        response = pb.ExecuteResponse()
        response.CopyFrom(found)
        response.id = self._mint_id()
        response.replica = self._replica
        response.created.FromNanoseconds(int(self._clock() * 1e9))
        response.cache.level = near_cache.LEVEL
        response.cache.age_seconds = age_seconds
        response.cache.public = turn.cache.public
        return response


def _may_be_repeated(turn: pb.ExecuteRequest, caller: Identity) -> bool:
    """What belongs to a session or a user may have changed since. A time to live is checked by who looks into the
    cache, even where it changes nothing."""
    return (
        caller.authentication in _REPEATED_TO
        and turn.cache.mode in _REPEATED_MODES
        and not turn.cache.HasField("ttl_seconds")
        and not turn.session_id
        and not turn.user_id
    )


def _question(turn: pb.ExecuteRequest, caller: Identity) -> str:
    """A key of all that could change the answer: the agent's key is made of no more, except what is the same for all
    turns. How the cache may be used is no part of it, as there."""
    asked = pb.ExecuteRequest()
    asked.CopyFrom(turn)
    asked.ClearField("cache")
    return hashlib.sha256(asked.SerializeToString(deterministic=True)).hexdigest() + caller.tenant

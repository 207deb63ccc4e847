"""From the limiter's own protocol to its nouns, and back."""

import re

from google.protobuf.timestamp_pb2 import Timestamp

from meshkit.errors import field_invalid, field_required
from services.ratelimit.buckets.bucket import MICROS_PER_SECOND, Holding
from services.ratelimit.durations import as_duration
from services.ratelimit.keys import ApiKey
from services.ratelimit.limits import CallerLimits
from services.ratelimit.reservations.reservation import (
    LONGEST_TTL_MICROS,
    MOST_TOKENS,
    SHORTEST_TTL_MICROS,
    Answer,
    Outcome,
    Places,
    Request,
)
from shoal.ratelimit.v1 import ratelimit_pb2 as pb

_RESERVATION = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def reservation_request(request: pb.ReserveRequest) -> Request:
    """Raises ShoalError for a name, a number of tokens or a time to live that cannot be."""
    return Request(
        name=reservation_name(request.reservation_id),
        tokens=token_count(request.tokens, field="tokens"),
        ttl_micros=ttl_micros(request),
    )


def reservation_name(name: str) -> str:
    if not name:
        raise field_required("reservation_id")
    if not _RESERVATION.fullmatch(name):
        raise field_invalid("reservation_id", "be 1 to 64 of a-z A-Z 0-9 - _")
    return name


def token_count(tokens: int, *, field: str) -> int:
    if tokens > MOST_TOKENS:
        raise field_invalid(field, f"be at most {MOST_TOKENS}")
    return tokens


def ttl_micros(request: pb.ReserveRequest | pb.RenewRequest) -> int:
    if not request.HasField("ttl"):
        raise field_required("ttl")
    micros = request.ttl.ToMicroseconds()
    if not SHORTEST_TTL_MICROS <= micros <= LONGEST_TTL_MICROS:
        raise field_invalid("ttl", "be 1 s to 1 h")
    return micros


def reserve_response(limits: CallerLimits, answer: Answer) -> pb.ReserveResponse:
    """A refusal by tokens tells when they will be there. For a place nobody knows: it is free when a call ends."""
    granted = answer.outcome is Outcome.DONE
    is_enforced = limits.model_tokens is not None and not limits.model_tokens.shadow
    wait = answer.model_tokens.wait_micros if answer.model_tokens and is_enforced and not granted else 0
    return pb.ReserveResponse(
        granted=granted,
        retry_after=as_duration(wait) if wait else None,
        model_tokens=model_tokens(limits, answer),
        places=places(answer.places),
    )


def model_tokens(limits: CallerLimits, answer: Answer) -> pb.Bucket | None:
    if limits.model_tokens is None or answer.model_tokens is None:
        return None
    return bucket(limits.model_tokens.name, answer.model_tokens)


def places(taken: Places | None) -> pb.Places | None:
    return pb.Places(capacity=taken.capacity, taken=taken.taken) if taken else None


def bucket(name: str, holding: Holding) -> pb.Bucket:
    """`name` is whose limit it is."""
    return pb.Bucket(
        tier=name,
        rate_per_second=float(holding.limit.rate_per_second),
        capacity=holding.limit.capacity,
        remaining=holding.remaining,
        full_in=as_duration(holding.full_in_micros),
    )


def api_key(key: ApiKey) -> pb.ApiKey:
    return pb.ApiKey(
        id=key.id,
        tenant=key.tenant,
        tier=key.tier,
        name=key.name,
        created=_timestamp(key.created),
        revoked=None if key.revoked is None else _timestamp(key.revoked),
    )


def _timestamp(seconds: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromMicroseconds(round(seconds * MICROS_PER_SECOND))
    return timestamp

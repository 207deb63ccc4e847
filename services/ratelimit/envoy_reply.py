"""The limiter's answer to Envoy: headers for both sides, and a refusal in the shape that the client reads."""

import base64
from typing import Any

import msgspec

from meshkit import status
from meshkit.errors import Reason, ShoalError
from meshkit.identity import HEADER as IDENTITY_HEADER
from meshkit.identity import Authentication
from services.ratelimit.buckets.bucket import MICROS_PER_SECOND, Holding
from services.ratelimit.durations import millis_up, seconds_up
from services.ratelimit.envoy_request import Question, Surface
from services.ratelimit.limiter import Verdict
from shoal.external.rls_pb2 import RateLimitResponse

Headers = dict[str, str]

SERVED = frozenset({Authentication.API_KEY, Authentication.ANONYMOUS})
"""The callers whose requests are answered; the services behind refuse the others with 401."""


def allowance(question: Question, verdict: Verdict, signed_identity: str) -> RateLimitResponse:
    """The request may go on, under the name that it was given."""
    response = _response(RateLimitResponse.OK, question, verdict)
    response.request_headers_to_add.add(key=IDENTITY_HEADER, value=signed_identity)
    return response


def refusal(question: Question, verdict: Verdict) -> RateLimitResponse:
    """The request ends here, with a body of ours that Envoy passes on."""
    error = rate_limited(verdict)
    response = _response(RateLimitResponse.OVER_LIMIT, question, verdict)
    _add_headers(response, retry_headers(verdict.decision.retry_after_micros))
    _add_headers(response, _shape_headers(question.surface, error))
    response.raw_body = _body(question, error)
    response.dynamic_metadata["reply"] = "limiter"
    return response


def _response(code: RateLimitResponse.Code.ValueType, question: Question, verdict: Verdict) -> RateLimitResponse:
    """One bucket pays for all descriptors, so all have its status."""
    response, holding = RateLimitResponse(overall_code=code), verdict.holding
    for _ in range(question.descriptors):
        each = response.statuses.add(code=code, limit_remaining=holding.remaining)
        seconds, micros = divmod(holding.full_in_micros, MICROS_PER_SECOND)
        duration = each.duration_until_reset
        duration.seconds, duration.nanos = seconds, 1000 * micros
    _add_headers(response, budget_headers(verdict.policy, holding))
    return response


def _add_headers(response: RateLimitResponse, headers: Headers) -> None:
    """In place: messages that are made first are copied, and this is done for every request."""
    for key, value in headers.items():
        response.response_headers_to_add.add(key=key, value=value)


def rate_limited(verdict: Verdict) -> ShoalError:
    """What the client is told when its bucket, or what its address may get wrong, is spent."""
    wait = verdict.decision.retry_after_micros
    again = f"Try again in {_plain(millis_up(wait) / 1000)} s."
    if verdict.caller.authentication in SERVED:
        limit = verdict.holding.limit
        size = f"{_plain(float(limit.rate_per_second))} per second, {limit.capacity} at once"
        message = f"The limit of '{verdict.policy}' is reached: {size}. {again}"
    else:
        message = f"This address sent too many requests without one good API key. Check the key. {again}"
    return ShoalError(Reason.RATE_LIMITED, message, retry_after_seconds=wait / MICROS_PER_SECOND)


def budget_headers(policy: str, holding: Holding) -> Headers:
    """What the client may still spend: the fields of draft-ietf-httpapi-ratelimit-headers, and the older ones.

    Times are whole seconds, rounded up, until the bucket is full.
    """
    capacity, remaining = holding.limit.capacity, holding.remaining
    window = seconds_up(holding.limit.micros_to_gain(holding.limit.full))
    full_in = seconds_up(holding.full_in_micros)
    return {
        "ratelimit-policy": f'"{policy}";q={capacity};w={window}',
        "ratelimit": f'"{policy}";r={remaining};t={full_in}',
        "x-ratelimit-limit": str(capacity),
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-reset": str(full_in),
    }


def retry_headers(retry_after_micros: int) -> Headers:
    """When the same request would pass, for HTTP in whole seconds and for gRPC in milliseconds, both rounded up."""
    return {
        "retry-after": retry_after(retry_after_micros),
        status.PUSHBACK_HEADER: str(millis_up(retry_after_micros)),
    }


def retry_after(micros: int) -> str:
    """The header's value: whole seconds, rounded up, at least one."""
    return str(max(1, seconds_up(micros)))


def _shape_headers(surface: Surface, error: ShoalError) -> Headers:
    if surface is not Surface.GRPC:
        return {"content-type": "application/json"}
    details = base64.b64encode(status.to_status(error).SerializeToString()).rstrip(b"=")
    return {"grpc-status-details-bin": details.decode()}


def _body(question: Question, error: ShoalError) -> bytes:
    match question.surface:
        case Surface.GRPC:
            return error.message.encode()
        case Surface.REST:
            return msgspec.json.encode(_rest_error(question.request_id, error))
        case Surface.OPENAI:
            return msgspec.json.encode({"error": _openai_error(error)})


def _openai_error(error: ShoalError) -> dict[str, Any]:
    return {
        "message": error.message,
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limited",
        "retry_after_seconds": error.retry_after_seconds,
    }


def _rest_error(request_id: str, error: ShoalError) -> dict[str, Any]:
    return {
        "error": error.message,
        "code": error.code,
        "reason": error.reason,
        "field": error.field,
        "request_id": request_id,
        "retry_after_seconds": error.retry_after_seconds,
    }


def _plain(number: float) -> str:
    """At most three decimals, and none that say nothing."""
    return f"{number:.3f}".rstrip("0").rstrip(".")

"""Answers to Envoy."""

import base64
from fractions import Fraction

import msgspec
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from meshkit.identity import Authentication
from services.ratelimit.buckets.bucket import Decision, Holding, Limit
from services.ratelimit.callers import Asker, Caller
from services.ratelimit.envoy_reply import allowance, refusal
from services.ratelimit.envoy_request import Question, Surface
from services.ratelimit.limiter import Verdict
from shoal.external.rls_pb2 import HeaderValue, RateLimitResponse

BASIC = Limit(10, 55)


def question(surface: Surface = Surface.REST, *, descriptors: int = 1) -> Question:
    return Question(Asker("203.0.113.7/32", frozenset()), surface, "task", "r-1", descriptors)


def verdict(
    *,
    remaining: int,
    limit: Limit = BASIC,
    retry_after_micros: int = 0,
    authentication: Authentication = Authentication.API_KEY,
) -> Verdict:
    caller = Caller("acme", "basic", "key_1", authentication)
    full_in = limit.micros_to_gain((limit.capacity - remaining) * limit.grains_per_token)
    holding = Holding(limit, remaining, full_in, retry_after_micros)
    return Verdict(caller, "basic", Decision(retry_after_micros == 0, retry_after_micros, (holding,)), metered=False)


LIMITS = st.builds(Limit, st.fractions(Fraction(1, 3600), 10**6, max_denominator=3600), st.integers(1, 10**5))
DENIED = verdict(remaining=0, retry_after_micros=730_000)


def as_dict(headers: list[HeaderValue]) -> dict[str, str]:
    assert len({header.key for header in headers}) == len(headers)
    return {header.key: header.value for header in headers}


def headers_of(response: RateLimitResponse) -> dict[str, str]:
    return as_dict(list(response.response_headers_to_add))


def test_an_allowance_carries_the_identity_upstream_and_the_budget_to_the_client() -> None:
    response = allowance(question(), verdict(remaining=40), "signed")
    assert response.overall_code == RateLimitResponse.OK
    assert as_dict(list(response.request_headers_to_add)) == {"x-shoal-identity": "signed"}
    assert headers_of(response) == {
        "ratelimit-policy": '"basic";q=55;w=6',
        "ratelimit": '"basic";r=40;t=2',
        "x-ratelimit-limit": "55",
        "x-ratelimit-remaining": "40",
        "x-ratelimit-reset": "2",
    }


@pytest.mark.parametrize("descriptors", [1, 2])
def test_every_descriptor_has_its_status(descriptors: int) -> None:
    allowed = allowance(question(descriptors=descriptors), verdict(remaining=40), "signed")
    denied = refusal(question(descriptors=descriptors), DENIED)
    assert [status.code for status in allowed.statuses] == [RateLimitResponse.OK] * descriptors
    assert [status.code for status in denied.statuses] == [RateLimitResponse.OVER_LIMIT] * descriptors
    assert allowed.statuses[0].limit_remaining == 40
    assert allowed.statuses[0].duration_until_reset.ToMicroseconds() == 1_500_000


def test_a_refusal_names_no_identity_and_is_marked_as_ours() -> None:
    response = refusal(question(), DENIED)
    assert response.overall_code == RateLimitResponse.OVER_LIMIT
    assert not response.request_headers_to_add
    assert response.dynamic_metadata["reply"] == "limiter"


def test_a_refusal_says_when_to_come_back() -> None:
    headers = headers_of(refusal(question(), DENIED))
    assert headers["retry-after"] == "1"
    assert headers["grpc-retry-pushback-ms"] == "730"
    assert headers["ratelimit"] == '"basic";r=0;t=6'
    long = headers_of(refusal(question(), verdict(remaining=0, retry_after_micros=2_000_001)))
    assert long["retry-after"] == "3"
    assert long["grpc-retry-pushback-ms"] == "2001"


def test_rest_is_refused_in_our_shape() -> None:
    response = refusal(question(Surface.REST), DENIED)
    assert headers_of(response)["content-type"] == "application/json"
    assert "grpc-status-details-bin" not in headers_of(response)
    assert msgspec.json.decode(response.raw_body) == {
        "error": "The limit of 'basic' is reached: 10 per second, 55 at once. Try again in 0.73 s.",
        "code": "RESOURCE_EXHAUSTED",
        "reason": "RATE_LIMITED",
        "field": "",
        "request_id": "r-1",
        "retry_after_seconds": 0.73,
    }


def test_openai_clients_are_refused_in_their_shape() -> None:
    response = refusal(question(Surface.OPENAI), DENIED)
    assert headers_of(response)["content-type"] == "application/json"
    error = msgspec.json.decode(response.raw_body)["error"]
    assert error.pop("message").startswith("The limit of 'basic' is reached")
    assert error == {
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limited",
        "retry_after_seconds": 0.73,
    }


def test_grpc_clients_are_refused_with_details_that_agree_with_the_message() -> None:
    response = refusal(question(Surface.GRPC), DENIED)
    headers = headers_of(response)
    encoded = headers["grpc-status-details-bin"]
    assert "content-type" not in headers
    assert "=" not in encoded
    status = status_pb2.Status.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
    assert status.code == 8
    assert status.message == response.raw_body.decode()
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(retry)
    assert info.reason == "ERROR_REASON_RATE_LIMITED"
    assert retry.retry_delay.ToMilliseconds() == 730


def test_a_shadow_that_would_have_refused_is_no_refusal_for_the_client() -> None:
    tried = Holding(Limit(1, 1), remaining=0, full_in_micros=1_000_000, wait_micros=1_000_000)
    held = Holding(BASIC, remaining=54, full_in_micros=100_000, wait_micros=0)
    caller = Caller("acme", "basic", "key_1", Authentication.API_KEY)
    response = allowance(question(), Verdict(caller, "basic", Decision(True, 0, (held, tried)), False), "signed")
    assert [status.code for status in response.statuses] == [RateLimitResponse.OK]
    assert headers_of(response)["ratelimit"] == '"basic";r=54;t=1'
    assert "retry-after" not in headers_of(response)


@given(limit=LIMITS, data=st.data())
def test_nothing_promises_less_than_the_exact_wait(limit: Limit, data: st.DataObject) -> None:
    wait = data.draw(st.integers(1, limit.micros_to_gain(limit.full)))
    denied = verdict(limit=limit, remaining=0, retry_after_micros=wait)
    over_grpc = refusal(question(Surface.GRPC), denied)
    headers = headers_of(over_grpc)
    details = base64.b64decode(headers["grpc-status-details-bin"] + "==")
    retry = error_details_pb2.RetryInfo()
    assert status_pb2.Status.FromString(details).details[1].Unpack(retry)
    body = msgspec.json.decode(refusal(question(Surface.REST), denied).raw_body)
    said = float(body["error"].rpartition("Try again in ")[2].removesuffix(" s."))
    seconds, millis = int(headers["retry-after"]), int(headers["grpc-retry-pushback-ms"])
    assert seconds == max(1, -(-wait // 10**6))
    assert millis == retry.retry_delay.ToMilliseconds() == -(-wait // 1000)
    assert round(body["retry_after_seconds"] * 10**6) == wait
    in_openais_shape = msgspec.json.decode(refusal(question(Surface.OPENAI), denied).raw_body)
    assert in_openais_shape["error"]["retry_after_seconds"] == body["retry_after_seconds"]
    assert round(said * 1000) == millis


def test_who_guesses_keys_is_told_about_keys_and_not_about_a_tier() -> None:
    guess = verdict(remaining=0, retry_after_micros=1, authentication=Authentication.UNKNOWN_KEY)
    body = msgspec.json.decode(refusal(question(), guess).raw_body)
    assert body["error"] == (
        "This address sent too many requests without one good API key. Check the key. Try again in 0.001 s."
    )

"""Reading Envoy's questions."""

import pytest
from google.protobuf.wrappers_pb2 import UInt64Value

from meshkit.errors import Reason, ShoalError
from services.ratelimit import keys
from services.ratelimit.callers import Asker
from services.ratelimit.envoy_request import Surface, parse
from shoal.external.rls_pb2 import RateLimitDescriptor, RateLimitRequest


def descriptor(**entries: str | bytes) -> RateLimitDescriptor:
    return RateLimitDescriptor(
        entries=[
            RateLimitDescriptor.Entry(key=key, value=value.encode() if isinstance(value, str) else value)
            for key, value in entries.items()
        ]
    )


MAIN = descriptor(masked_remote_address="203.0.113.7/32", surface="rest", request_id="r-1")


def keys_of(**headers: str | bytes) -> frozenset[str]:
    sent = descriptor(masked_remote_address="203.0.113.7/32", surface="rest", **headers)
    return parse(RateLimitRequest(descriptors=[sent])).asker.api_keys


def test_a_question_is_read() -> None:
    full = descriptor(
        masked_remote_address="2001:db8::/64",
        surface="openai",
        route="chat",
        request_id="r-1",
        x_api_key="a",
        authorization="Bearer b",
    )
    question = parse(RateLimitRequest(descriptors=[full]))
    assert question.asker == Asker("2001:db8::/64", frozenset({"a", "b"}))
    assert question.surface is Surface.OPENAI
    assert question.route == "chat"
    assert question.request_id == "r-1"
    assert question.descriptors == 1


def test_a_request_without_credentials_carries_no_key() -> None:
    assert parse(RateLimitRequest(descriptors=[MAIN])).asker == Asker("203.0.113.7/32", frozenset())


def test_a_question_without_a_route_is_about_another_one() -> None:
    assert parse(RateLimitRequest(descriptors=[MAIN])).route == "other"


def test_a_header_sent_twice_shows_both_its_keys() -> None:
    assert keys_of(x_api_key="a,b", authorization="Bearer c,Bearer d") == {"a", "b", "c", "d"}


SECRET = keys.new_secret(b"k" * 32)


@pytest.mark.parametrize(
    "value",
    [
        b"\xff\xfe",
        SECRET.encode() + b"\xff",
        SECRET.encode()[:-1] + b"\xc3",
        SECRET + "\0",
        "\0" + SECRET,
        SECRET[:20] + "\n" + SECRET[20:],
        SECRET + "x" * 10_000,
        "x" * 10_000,
        "," * 10_000,
    ],
)
def test_what_is_no_key_is_seen_as_one_that_cannot_be_good(value: str | bytes) -> None:
    for header in ("x_api_key", "authorization"):
        (key,) = keys_of(**{header: value})
        assert not keys.is_well_formed(key)


def test_thousands_of_keys_in_a_header_are_several() -> None:
    assert len(keys_of(x_api_key=",".join(str(number) for number in range(5000)))) == 5000


def test_a_hundred_descriptors_are_read() -> None:
    assert parse(RateLimitRequest(descriptors=[MAIN] * 100)).descriptors == 100


def test_every_descriptor_is_counted_since_each_wants_a_status() -> None:
    question = parse(RateLimitRequest(descriptors=[descriptor(surface="other"), MAIN]))
    assert question.asker.address == "203.0.113.7/32"
    assert question.descriptors == 2


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (RateLimitRequest(descriptors=[MAIN], hits_addend=2), "hits_addend"),
        (RateLimitRequest(domain="shoal"), "descriptors"),
        (RateLimitRequest(descriptors=[MAIN] * 101), "descriptors"),
        (RateLimitRequest(descriptors=[RateLimitDescriptor(entries=list(MAIN.entries) * 11)]), "descriptors"),
        (RateLimitRequest(descriptors=[descriptor(surface="rest")]), "descriptors"),
        (RateLimitRequest(descriptors=[descriptor(masked_remote_address="a")]), "descriptors"),
        (
            RateLimitRequest(descriptors=[RateLimitDescriptor(entries=MAIN.entries, is_negative_hits=True)]),
            "descriptors",
        ),
        (
            RateLimitRequest(
                descriptors=[RateLimitDescriptor(entries=MAIN.entries, hits_addend=UInt64Value(value=0))],
            ),
            "descriptors",
        ),
    ],
)
def test_what_our_envoy_never_sends_is_refused(request_: RateLimitRequest, field: str) -> None:
    with pytest.raises(ShoalError) as refused:
        parse(request_)
    assert (refused.value.reason, refused.value.field) == (Reason.FIELD_INVALID, field)

"""Envoy's protocol for descriptors, down to the bytes: field numbers are what makes us understood."""

from collections.abc import Iterator

import pytest
from google.protobuf.wrappers_pb2 import UInt64Value
from prometheus_client import CollectorRegistry

from meshkit.errors import Reason, ShoalError
from services.ratelimit.buckets.bucket_store import InMemoryBucketStore
from services.ratelimit.domains.descriptor_limiter import DescriptorLimiter
from services.ratelimit.domains.domain_file import read_domains
from services.ratelimit.domains.domain_questions import DomainQuestions
from services.ratelimit.metrics import LimiterMetrics
from shoal.external.rls_pb2 import RateLimitDescriptor, RateLimitRequest, RateLimitResponse

FILE = """\
domain: api
descriptors:
  - {key: user, rate_limit: {name: users, unit: week, requests_per_unit: 5}}
  - {key: tested, shadow_mode: true, rate_limit: {unit: day, requests_per_unit: 1}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: closed, rate_limit: {unit: day, requests_per_unit: 0}}
"""
OK, OVER_LIMIT = RateLimitResponse.OK, RateLimitResponse.OVER_LIMIT
Unit = RateLimitResponse.RateLimit


class World:
    """A limiter whose time stands still."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        domains = read_domains({"api.yaml": FILE})
        limiter = DescriptorLimiter(buckets=InMemoryBucketStore(lambda: 0), domains=lambda: domains)
        self._questions = DomainQuestions(limiter=limiter, metrics=LimiterMetrics(self.registry))

    async def ask(
        self, *descriptors: RateLimitDescriptor, hits_addend: int = 0, domain: str = "api"
    ) -> RateLimitResponse:
        request = RateLimitRequest(domain=domain, descriptors=descriptors, hits_addend=hits_addend)
        return await self._questions.answer(request)

    async def ask_bytes(self, request: bytes) -> bytes:
        return (await self._questions.answer(RateLimitRequest.FromString(request))).SerializeToString()

    async def left(self) -> int:
        """What the bucket of the user x holds."""
        (status,) = (await self.ask(a("user", hits=0))).statuses
        return status.limit_remaining

    def counted(self, domain: str, outcome: str) -> float:
        labels = {"domain": domain, "outcome": outcome}
        return self.registry.get_sample_value("shoal_ratelimit_domain_decisions_total", labels) or 0


@pytest.fixture
def world() -> World:
    return World()


def a(key: str, value: bytes = b"x", *, hits: int | None = None, gives_back: bool = False) -> RateLimitDescriptor:
    return RateLimitDescriptor(
        entries=[RateLimitDescriptor.Entry(key=key, value=value)],
        hits_addend=None if hits is None else UInt64Value(value=hits),
        is_negative_hits=gives_back,
    )


@pytest.mark.parametrize(
    ("request_hits", "own_hits", "left"), [(0, None, 4), (1, None, 4), (3, None, 2), (3, 1, 4), (3, 0, 5), (0, 2, 3)]
)
async def test_hits_of_a_descriptor_count_before_those_of_the_request(
    world: World, request_hits: int, own_hits: int | None, left: int
) -> None:
    await world.ask(a("user", hits=own_hits), hits_addend=request_hits)
    assert await world.left() == left


@pytest.mark.parametrize(("request_hits", "own_hits", "left"), [(0, None, 2), (2, None, 3), (1, 3, 4)])
async def test_hits_are_given_back(world: World, request_hits: int, own_hits: int | None, left: int) -> None:
    await world.ask(a("user", hits=4))
    await world.ask(a("user", hits=own_hits, gives_back=True), hits_addend=request_hits)
    assert await world.left() == left


async def test_an_answer_has_the_limit_and_what_is_left(world: World) -> None:
    answer = await world.ask(a("user", hits=2), a("other"), a("free"))
    assert answer.overall_code == OK
    limited, unmatched, unlimited = answer.statuses
    assert (limited.code, limited.limit_remaining) == (OK, 3)
    assert limited.current_limit == RateLimitResponse.RateLimit(requests_per_unit=5, unit=Unit.WEEK, name="users")
    assert limited.duration_until_reset.ToMicroseconds() == -(-2 * 7 * 24 * 3600 * 10**6 // 5)
    assert unmatched == RateLimitResponse.DescriptorStatus(code=OK)
    assert unlimited == RateLimitResponse.DescriptorStatus(code=OK, limit_remaining=2**32 - 1)
    assert not answer.response_headers_to_add


async def test_a_refusal_says_when_to_try_again_in_whole_seconds_rounded_up(world: World) -> None:
    await world.ask(a("user", hits=5))
    answer = await world.ask(a("other"), a("user"))
    assert answer.overall_code == OVER_LIMIT
    assert [status.code for status in answer.statuses] == [OK, OVER_LIMIT]
    assert [(header.key, header.value) for header in answer.response_headers_to_add] == [("retry-after", "120960")]


@pytest.mark.parametrize("descriptor", [a("user", hits=6), a("user", hits=2**64 - 1), a("closed")])
async def test_a_refusal_for_good_does_not_say_to_try_again(world: World, descriptor: RateLimitDescriptor) -> None:
    answer = await world.ask(descriptor)
    assert answer.overall_code == answer.statuses[0].code == OVER_LIMIT
    assert answer.statuses[0].HasField("current_limit")
    assert not answer.response_headers_to_add


@pytest.mark.parametrize("unit", ["SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "YEAR"])
async def test_a_limit_may_come_with_the_descriptor(world: World, unit: str) -> None:
    limited = a("anything")
    limited.limit.requests_per_unit = 2
    limited.limit.unit = Unit.Unit.Value(unit)
    answers = [await world.ask(limited) for _ in range(3)]
    assert [answer.overall_code for answer in answers] == [OK, OK, OVER_LIMIT]
    assert answers[0].statuses[0].current_limit == RateLimitResponse.RateLimit(
        requests_per_unit=2, unit=Unit.Unit.Value(unit)
    )


@pytest.mark.parametrize("unit", [0, 8])
async def test_a_limit_in_an_unknown_unit_is_refused(world: World, unit: int) -> None:
    limited = a("anything")
    limited.limit.MergeFromString(bytes([0x08, 2, 0x10, unit]))
    with pytest.raises(ShoalError, match="units"):
        await world.ask(limited)


async def test_decisions_are_counted_by_domain_and_outcome(world: World) -> None:
    await world.ask(a("user", hits=5))
    await world.ask(a("user"))
    await world.ask(a("tested"))
    await world.ask(a("tested"))
    with pytest.raises(ShoalError):
        await world.ask(a("user"), domain="made up")
    assert world.counted("api", "allowed") == 2
    assert world.counted("api", "over_limit") == 1
    assert world.counted("api", "shadowed") == 1
    assert world.counted("", "field_invalid") == 1
    assert world.counted("made up", "field_invalid") == 0


@pytest.mark.parametrize(
    "descriptors",
    [
        [],
        [a("user")] * 101,
        [a("user"), RateLimitDescriptor()],
        [RateLimitDescriptor(entries=[RateLimitDescriptor.Entry(key="user", value=b"x")] * 33)],
    ],
)
async def test_too_few_and_too_many_parts_are_refused_and_cost_nothing(
    world: World, descriptors: list[RateLimitDescriptor]
) -> None:
    with pytest.raises(ShoalError) as refused:
        await world.ask(*descriptors)
    assert (refused.value.reason, refused.value.field) == (Reason.FIELD_INVALID, "descriptors")
    assert await world.left() == 5


async def test_of_too_many_descriptors_none_is_read(world: World) -> None:
    in_no_unit = a("user")
    in_no_unit.limit.requests_per_unit = 1
    with pytest.raises(ShoalError, match="1 to 100 descriptors"):
        await world.ask(in_no_unit, *[a("user")] * 100)


@pytest.mark.parametrize("value", [b"x" * 10_000, b"a\nb", b"\x00", b"\xff\xfe", b""])
async def test_values_of_any_bytes_have_their_own_bucket(world: World, value: bytes) -> None:
    assert (await world.ask(a("user", value, hits=5))).overall_code == OK
    assert (await world.ask(a("user", value))).overall_code == OVER_LIMIT
    assert await world.left() == 5


def varint(number: int) -> bytes:
    low, high = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(high) if high else bytes([low])


def field(number: int, value: int | bytes) -> bytes:
    """A field of a message, as protobuf writes it."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message that has only varints and parts with a length."""
    at = 0

    def number() -> int:
        nonlocal at
        result = shift = 0
        while True:
            byte = message[at]
            at += 1
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return result

    while at < len(message):
        tag = number()
        if tag & 7 == 0:
            yield tag >> 3, number()
        else:
            assert tag & 7 == 2
            length = number()
            yield tag >> 3, message[at : at + length]
            at += length


def encoded(*descriptor_fields: bytes) -> bytes:
    """A question in the published protocol: the domain is field 1, descriptors 2; of these, entries are field 1."""
    entry = field(1, b"user") + field(2, b"x")
    return field(1, b"api") + field(2, field(1, entry) + b"".join(descriptor_fields))


async def test_the_bytes_of_the_published_protocol_are_understood(world: World) -> None:
    await world.ask_bytes(encoded() + field(3, 2))
    assert await world.left() == 3
    own_hits = field(3, field(1, 2))
    await world.ask_bytes(encoded(own_hits))
    assert await world.left() == 1
    is_negative = field(4, 1)
    await world.ask_bytes(encoded(own_hits, is_negative))
    assert await world.left() == 3
    override = field(2, field(1, 9) + field(2, 4))
    answer = dict(fields(await world.ask_bytes(encoded(override))))
    assert isinstance(answer[2], bytes)
    (current_limit,) = (value for number, value in fields(answer[2]) if number == 2)
    assert isinstance(current_limit, bytes)
    assert dict(fields(current_limit)) == {1: 9, 2: 4}
    assert await world.left() == 3


async def test_the_bytes_of_the_answer_are_those_of_the_published_protocol(world: World) -> None:
    answer = dict(fields(await world.ask_bytes(encoded() + field(3, 5))))
    assert answer.keys() == {1, 2}
    assert answer[1] == 1  # OK
    refused = dict(fields(await world.ask_bytes(encoded())))
    assert refused[1] == 2  # OVER_LIMIT
    assert isinstance(refused[2], bytes)
    status = dict(fields(refused[2]))
    assert status[1] == 2
    assert isinstance(status[2], bytes)
    assert dict(fields(status[2])) == {1: 5, 2: 7, 3: b"users"}
    assert 3 not in status  # nothing is left
    assert isinstance(status[4], bytes)
    assert dict(fields(status[4])) == {1: 7 * 24 * 3600}
    assert isinstance(refused[3], bytes)
    assert dict(fields(refused[3])) == {1: b"retry-after", 2: b"120960"}

"""The cache service as a turn sees it: what is sent, what comes back, and what is a miss."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import msgspec
import pytest

from load.measuring.ports import free_port
from meshkit import call, serve
from meshkit.call import Call
from meshkit.call_guard import CallGuard
from meshkit.channel import open_http1_channel
from meshkit.errors import Reason, ShoalError
from meshkit.http1.server import listening
from meshkit.http1.server_connection import Terms
from meshkit.identity import LIFETIME_SECONDS, Authentication, Identity
from meshkit.metrics import Metrics
from services.agent.cache_client import MESSAGE_BYTES, CacheClient
from services.agent.conversation import AnswerEvent, Completed, Delta, FinishReason, ToolCall, ToolResult, Usage
from services.agent.metering import MOST_TOKENS
from services.agent.ports import CachedAnswer, CachedKind, Lead, Lifetime
from shoal.cache.v1 import cache_pb2 as pb
from shoal.cache.v1 import cache_pb2_grpc
from tests.mesh_identity import SIGNER

Context = grpc.aio.ServicerContext[Any, Any]
KEY = "0123456789abcdef" * 4
WHOLE: dict[str, Any] = {"part_of": "fedcba9876543210" * 4, "tags": ("a", "b"), "generation": 2**64 - 1}
LEAD = Lead(KEY, CachedKind.RESPONSE, 7)
STOP = Completed(FinishReason.STOP)
ANSWER: tuple[AnswerEvent, ...] = (
    Delta("Hel"),
    Delta("lo"),
    ToolResult("1", "search", "found", has_side_effects=False),
    ToolCall("call_1", "add", '{"a":1}'),
    Usage(3, 4, 0.5, from_cache=True),
    STOP,
)


class ScriptedCache(cache_pb2_grpc.CacheServiceServicer):
    """Answers look-ups in order, then leaves the lead to the caller; keeps what it is given, and for how long it was
    told."""

    def __init__(self) -> None:
        self.answers: list[pb.OpenResponse] = []
        self.look_ups: list[pb.OpenRequest] = []
        self.steps: list[pb.PublishRequest] = []
        self.published = pb.PublishResponse(stored=True, size_bytes=1, ttl_seconds=58.5, stale_seconds=60)
        self.failure: ShoalError | None = None
        self.tenants: list[str] = []

    async def Open(self, request: pb.OpenRequest, context: Context) -> pb.OpenResponse:  # noqa: N802
        self.tenants.append(call.current().identity.tenant)
        self.look_ups.append(request)
        if self.failure:
            raise self.failure
        return self.answers.pop(0) if self.answers else pb.OpenResponse(lead=pb.Lead(generation=7))

    async def Publish(self, steps: AsyncIterator[pb.PublishRequest], context: Context) -> pb.PublishResponse:  # noqa: N802
        self.tenants.append(call.current().identity.tenant)
        self.steps = [step async for step in steps]
        if self.failure:
            raise self.failure
        return self.published

    @property
    def events(self) -> list[bytes]:
        return [event for step in self.steps for event in step.append.events]


@pytest.fixture
def service() -> ScriptedCache:
    return ScriptedCache()  # type: ignore[abstract]  # the rest of the service is not called


@pytest.fixture
async def cache(service: ScriptedCache) -> AsyncIterator[CacheClient]:
    guard = CallGuard(signer=SIGNER, metrics=Metrics(), replica="cache-1", longest_seconds=900, slow_client_seconds=30)
    server, port = serve.new_server(guard), free_port()
    cache_pb2_grpc.add_CacheServiceServicer_to_server(service, server)
    terms = Terms([server], is_serving=lambda: True)
    async with listening(terms, port=port), open_http1_channel(f"127.0.0.1:{port}") as channel:
        yield CacheClient(channel)


@pytest.fixture(autouse=True)
def serving() -> Iterator[None]:
    """Every test is in the middle of a call."""
    identity = Identity("acme", "premium", "key_1", Authentication.API_KEY, time.time() + LIFETIME_SECONDS)
    signed = SIGNER.sign(identity)
    with call.serving(Call("request-1", identity, signed, deadline=time.monotonic() + 60)):
        yield


def hit(events: list[bytes], **details: Any) -> pb.OpenResponse:
    told: dict[str, Any] = {"level": "l2", "age_seconds": 7.5, "ttl_seconds": 3600, "stale_seconds": 60} | details
    return pb.OpenResponse(hit=pb.Hit(events=events, **told))


async def test_a_look_up_says_all_it_is_for_on_behalf_of_the_caller(service: ScriptedCache, cache: CacheClient) -> None:
    assert await cache.open(KEY, CachedKind.RESPONSE) == LEAD
    lead = await cache.open(KEY, CachedKind.MODEL_OUTPUT, **WHOLE, refresh=True)
    assert lead == Lead(KEY, CachedKind.MODEL_OUTPUT, 7)
    await cache.open(KEY, CachedKind.RESPONSE, tags=("a",), only=True)
    assert service.look_ups == [
        pb.OpenRequest(key=KEY, policy=pb.POLICY_RESPONSE),
        pb.OpenRequest(key=KEY, policy=pb.POLICY_MODEL_OUTPUT, **WHOLE, refresh=True),
        pb.OpenRequest(key=KEY, policy=pb.POLICY_RESPONSE, tags=["a"], only=True),
    ]
    assert service.tenants == ["acme"] * 3


async def test_the_lead_tells_whether_what_the_answer_is_made_of_is_refreshed_too(
    service: ScriptedCache, cache: CacheClient
) -> None:
    service.answers = [pb.OpenResponse(lead=pb.Lead(generation=7, anew=True))]
    assert await cache.open(KEY, CachedKind.RESPONSE) == Lead(KEY, CachedKind.RESPONSE, 7, refresh=True)


async def test_what_is_kept_comes_back_as_it_was(service: ScriptedCache, cache: CacheClient) -> None:
    lifetime = await cache.keep(LEAD, model="small", events=ANSWER, tags=("a", "b"), ttl_seconds=60)
    assert lifetime == Lifetime(ttl_seconds=58.5, stale_seconds=60)
    service.answers = [hit(service.events)]
    assert await cache.open(KEY, CachedKind.RESPONSE) == CachedAnswer(
        model="small",
        events=ANSWER,
        level="l2",
        age_seconds=7.5,
        lifetime=Lifetime(ttl_seconds=3600, stale_seconds=60),
        tags=("a", "b"),
        asked_ttl_seconds=60,
    )


async def test_an_answer_is_handed_in_with_its_lead_tags_time_to_live_and_worth(
    service: ScriptedCache, cache: CacheClient
) -> None:
    await cache.keep(LEAD, model="small", events=ANSWER, tags=("a", "b"), ttl_seconds=60)
    begin = pb.PublishBegin(key=KEY, policy=pb.POLICY_RESPONSE, generation=7, tags=["a", "b"], ttl_seconds=60)
    worth = pb.Worth(input_tokens=3, output_tokens=4, cost_usd=0.5)
    assert service.steps[0] == pb.PublishRequest(begin=begin)
    assert service.steps[-1] == pb.PublishRequest(end=pb.PublishEnd(worth=worth))
    assert service.tenants == ["acme"]


async def test_time_to_live_is_left_to_the_policy_where_none_is_asked_for(
    service: ScriptedCache, cache: CacheClient
) -> None:
    await cache.keep(LEAD, model="small", events=[STOP])
    assert not service.steps[0].begin.HasField("ttl_seconds")


async def test_a_long_answer_is_sent_in_messages_that_may_pass_and_in_order(
    service: ScriptedCache, cache: CacheClient
) -> None:
    long = [Delta(str(number) * (MESSAGE_BYTES // 3)) for number in range(10)]
    await cache.keep(LEAD, model="small", events=[*long, Delta("x" * 3 * MESSAGE_BYTES), STOP])
    sizes = [step.ByteSize() for step in service.steps]
    assert max(sizes[:-3]) < 1.1 * MESSAGE_BYTES
    assert len(sizes) > 5
    service.answers = [hit(service.events)]
    found = await cache.open(KEY, CachedKind.RESPONSE)
    assert isinstance(found, CachedAnswer)
    assert found.events == (*long, Delta("x" * 3 * MESSAGE_BYTES), STOP)


async def test_what_a_model_tells_of_its_tokens_is_not_believed_without_bounds(
    service: ScriptedCache, cache: CacheClient
) -> None:
    assert await cache.keep(LEAD, model="small", events=[Usage(2**63, 2**64 - 1), STOP])
    assert service.steps[-1].end.worth == pb.Worth(input_tokens=MOST_TOKENS, output_tokens=MOST_TOKENS)


async def test_an_answer_that_the_cache_does_not_store_is_not_kept(service: ScriptedCache, cache: CacheClient) -> None:
    service.published = pb.PublishResponse(stored=False, size_bytes=10**9)
    assert await cache.keep(LEAD, model="small", events=ANSWER) is None


async def test_a_stale_answer_may_bring_the_lead_to_renew_it(service: ScriptedCache, cache: CacheClient) -> None:
    await cache.keep(LEAD, model="small", events=ANSWER)
    service.answers = [
        hit(service.events, age_seconds=3600.0, renewal=pb.Lead(generation=0)),
        hit(service.events, age_seconds=3600.0),
        hit(service.events, age_seconds=3599.9),
    ]
    answers = [await cache.open(KEY, CachedKind.RESPONSE) for _ in range(3)]
    told = [(answer.is_stale, answer.renewal) for answer in answers if isinstance(answer, CachedAnswer)]
    assert told == [(True, Lead(KEY, CachedKind.RESPONSE, 0)), (True, None), (False, None)]


def packed(*values: object) -> list[bytes]:
    return [msgspec.msgpack.encode(value) for value in values]


ORIGIN = {"type": "origin", "model": "small"}
END = {"type": "completed", "finish_reason": "stop"}


@pytest.mark.parametrize(
    "events",
    [
        [],
        [b""],
        [b"\xc1 no msgpack"],
        packed(ORIGIN),
        packed(ORIGIN, {"type": "delta", "text": "a"}),
        packed({"type": "delta", "text": "a"}, END),
        packed(ORIGIN, {"type": "song", "text": "a"}, END),
        packed(ORIGIN, {"type": "delta"}, END),
        packed(ORIGIN, END, ORIGIN),
        packed(ORIGIN, {"type": "completed", "finish_reason": "tired"}),
        [*packed(ORIGIN), b"\xa3\xff\xfe\xfd"],
    ],
)
async def test_what_cannot_be_read_is_a_miss_and_is_replaced(
    service: ScriptedCache, cache: CacheClient, events: list[bytes]
) -> None:
    service.answers = [hit(events)]
    assert await cache.open(KEY, CachedKind.MODEL_OUTPUT, **WHOLE) == Lead(KEY, CachedKind.MODEL_OUTPUT, 7)
    assert service.look_ups == [
        pb.OpenRequest(key=KEY, policy=pb.POLICY_MODEL_OUTPUT, **WHOLE, refresh=refresh) for refresh in (False, True)
    ]


async def test_what_cannot_be_read_is_left_as_it_is_by_who_computes_nothing(
    service: ScriptedCache, cache: CacheClient
) -> None:
    service.answers = [hit([b"\xc1 no msgpack"])]
    assert await cache.open(KEY, CachedKind.RESPONSE, only=True) is None
    assert len(service.look_ups) == 1


async def test_a_cache_that_gives_nonsense_for_ever_is_not_used(service: ScriptedCache, cache: CacheClient) -> None:
    service.answers = [pb.OpenResponse()] * 3
    assert await cache.open(KEY, CachedKind.RESPONSE) is None
    assert len(service.look_ups) == 2


async def test_an_answer_by_an_earlier_version_is_read(service: ScriptedCache, cache: CacheClient) -> None:
    service.answers = [hit(packed(ORIGIN, END))]
    found = await cache.open(KEY, CachedKind.RESPONSE)
    assert isinstance(found, CachedAnswer)
    assert (found.model, found.tags, found.asked_ttl_seconds) == ("small", (), None)


@pytest.mark.parametrize("reason", [Reason.SERVICE_UNAVAILABLE, Reason.INTERNAL, Reason.FIELD_INVALID])
async def test_a_cache_that_fails_is_not_used(service: ScriptedCache, cache: CacheClient, reason: Reason) -> None:
    service.failure = ShoalError(reason, "No.")
    assert await cache.open(KEY, CachedKind.RESPONSE) is None
    assert await cache.keep(LEAD, model="small", events=ANSWER) is None


async def test_a_cache_that_cannot_be_reached_is_not_used() -> None:
    async with open_http1_channel(f"127.0.0.1:{free_port()}") as channel:
        assert await CacheClient(channel).open(KEY, CachedKind.RESPONSE) is None
        assert await CacheClient(channel).keep(LEAD, model="small", events=ANSWER) is None


async def test_a_call_without_time_left_does_not_ask_the_cache(service: ScriptedCache, cache: CacheClient) -> None:
    with call.beside(seconds=0):
        assert await cache.open(KEY, CachedKind.RESPONSE) is None
        assert await cache.keep(LEAD, model="small", events=ANSWER) is None
    assert (service.look_ups, service.steps) == ([], [])

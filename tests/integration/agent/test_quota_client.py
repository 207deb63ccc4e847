"""The limiter as a turn sees it: what is sent, what is sent again, and what its refusals mean."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from load.measuring.ports import free_port
from meshkit import call, serve
from meshkit.call import Call
from meshkit.call_guard import CLEAN_UP_SECONDS, CallGuard
from meshkit.channel import open_http1_channel
from meshkit.errors import Code, Reason, ShoalError
from meshkit.http1.server import listening
from meshkit.http1.server_connection import Terms
from meshkit.identity import LIFETIME_SECONDS, Authentication, Identity
from meshkit.metrics import Metrics
from services.agent.quota_client import PLACE_RETRY_SECONDS, SETTLE_SECONDS, QuotaClient
from shoal.ratelimit.v1 import ratelimit_pb2 as pb
from shoal.ratelimit.v1 import ratelimit_pb2_grpc
from tests.mesh_identity import SIGNER

Context = grpc.aio.ServicerContext[Any, Any]


def gone() -> ShoalError:
    """A new one for each time: an error remembers where it was raised, and with it the server there."""
    return ShoalError(Reason.LIMITER_UNAVAILABLE, "Nothing can be reserved or settled now; try again.")


class ScriptedLimiter(ratelimit_pb2_grpc.RateLimitServiceServicer):
    """Fails as often as it is told, then grants everything. Remembers what it was asked and by whom."""

    def __init__(self) -> None:
        self.failures: list[ShoalError] = []
        self.answer = pb.ReserveResponse(granted=True)
        self.renewed = True
        self.asked: list[Any] = []
        self.callers: list[str] = []

    def _take(self, request: Any) -> None:
        self.asked.append(request)
        self.callers.append(call.current().identity.key_id)
        if self.failures:
            raise self.failures.pop(0)

    async def Reserve(self, request: pb.ReserveRequest, context: Context) -> pb.ReserveResponse:  # noqa: N802
        self._take(request)
        return self.answer

    async def Renew(self, request: pb.RenewRequest, context: Context) -> pb.RenewResponse:  # noqa: N802
        self._take(request)
        return pb.RenewResponse(renewed=self.renewed)

    async def Settle(self, request: pb.SettleRequest, context: Context) -> pb.SettleResponse:  # noqa: N802
        self._take(request)
        return pb.SettleResponse(counted=True)


@pytest.fixture
def limiter() -> ScriptedLimiter:
    return ScriptedLimiter()  # type: ignore[abstract]  # the rest of the service is not called


@pytest.fixture
async def address(limiter: ScriptedLimiter) -> AsyncIterator[str]:
    guard = CallGuard(
        signer=SIGNER, metrics=Metrics(), replica="ratelimit-1", longest_seconds=900, slow_client_seconds=30
    )
    server, port = serve.new_server(guard), free_port()
    ratelimit_pb2_grpc.add_RateLimitServiceServicer_to_server(limiter, server)
    async with listening(Terms([server], is_serving=lambda: True), port=port):
        yield f"127.0.0.1:{port}"


@pytest.fixture
async def quota(address: str) -> AsyncIterator[QuotaClient]:
    async with open_http1_channel(address) as channel:
        yield QuotaClient(channel)


@pytest.fixture(autouse=True)
def serving() -> Iterator[None]:
    """Every test is in the middle of a call."""
    with call.serving(current_call(seconds_left=60)):
        yield


def current_call(*, seconds_left: float) -> Call:
    identity = Identity("acme", "premium", "key_1", Authentication.API_KEY, time.time() + LIFETIME_SECONDS, True)
    signed = SIGNER.sign(identity)
    return Call("request-1", identity, signed, deadline=time.monotonic() + seconds_left)


async def refusal(quota: QuotaClient, tokens: int = 500) -> ShoalError:
    with pytest.raises(ShoalError) as refused:
        await quota.reserve("r-1", tokens=tokens, ttl_seconds=60)
    return refused.value


async def test_every_operation_is_sent_on_behalf_of_the_caller(limiter: ScriptedLimiter, quota: QuotaClient) -> None:
    await quota.reserve("r-1", tokens=500, ttl_seconds=1.5)
    assert await quota.renew("r-1", ttl_seconds=60)
    await quota.settle("r-1", used_tokens=7)
    assert limiter.asked == [
        pb.ReserveRequest(reservation_id="r-1", tokens=500, ttl=Duration(seconds=1, nanos=500_000_000)),
        pb.RenewRequest(reservation_id="r-1", ttl=Duration(seconds=60)),
        pb.SettleRequest(reservation_id="r-1", used_tokens=7),
    ]
    assert limiter.callers == ["key_1"] * 3


async def test_a_reservation_that_is_lost_is_told(limiter: ScriptedLimiter, quota: QuotaClient) -> None:
    limiter.renewed = False
    assert not await quota.renew("r-1", ttl_seconds=60)


async def test_what_did_not_get_through_is_sent_once_more_under_the_same_id(
    limiter: ScriptedLimiter, quota: QuotaClient
) -> None:
    limiter.failures = [gone()]
    await quota.reserve("r-1", tokens=500, ttl_seconds=60)
    limiter.failures = [gone()]
    await quota.settle("r-1", used_tokens=7)
    assert [request.reservation_id for request in limiter.asked] == ["r-1"] * 4


async def test_a_limiter_that_cannot_decide_is_asked_twice_and_then_the_turn_is_refused(
    limiter: ScriptedLimiter, quota: QuotaClient
) -> None:
    limiter.failures = [gone(), gone()]
    error = await refusal(quota)
    assert (error.reason, error.code) == (Reason.LIMITER_UNAVAILABLE, Code.UNAVAILABLE)
    assert len(limiter.asked) == 2


async def test_a_limiter_that_is_not_there_is_unavailable() -> None:
    async with open_http1_channel(f"127.0.0.1:{free_port()}") as channel:
        assert (await refusal(QuotaClient(channel))).reason is Reason.LIMITER_UNAVAILABLE


async def test_too_few_tokens_are_told_with_the_time_until_they_are_there(
    limiter: ScriptedLimiter, quota: QuotaClient
) -> None:
    limiter.answer = pb.ReserveResponse(
        granted=False,
        retry_after=Duration(seconds=12, nanos=340_000_000),
        model_tokens=pb.Bucket(tier="free", rate_per_second=10, capacity=600, remaining=45),
        places=pb.Places(capacity=2, taken=0),
    )
    error = await refusal(quota)
    assert (error.reason, error.code, error.retry_after_seconds) == (
        Reason.RATE_LIMITED,
        Code.RESOURCE_EXHAUSTED,
        12.34,
    )
    assert "600 model tokens per minute" in error.message
    assert "500" in error.message
    assert "45 are left" in error.message


async def test_too_few_places_are_told_with_a_hint(limiter: ScriptedLimiter, quota: QuotaClient) -> None:
    limiter.answer = pb.ReserveResponse(
        granted=False,
        model_tokens=pb.Bucket(tier="free", rate_per_second=10, capacity=600, remaining=600),
        places=pb.Places(capacity=2, taken=2),
    )
    error = await refusal(quota)
    assert (error.reason, error.retry_after_seconds) == (Reason.RATE_LIMITED, PLACE_RETRY_SECONDS)
    assert "2 calls at the same time" in error.message


async def test_more_than_there_ever_is_is_refused_for_good_by_the_callers_own_field(
    limiter: ScriptedLimiter, quota: QuotaClient
) -> None:
    never = "The limit of 'free' never holds so many."
    limiter.failures = [ShoalError(Reason.COST_ABOVE_CAPACITY, never, field="tokens")]
    error = await refusal(quota, 5000)
    assert (error.reason, error.code, error.field) == (Reason.COST_ABOVE_CAPACITY, "INVALID_ARGUMENT", "max_tokens")
    assert (error.retryable, error.retry_after_seconds) == (False, None)
    assert "5000" in error.message
    assert never in error.message
    assert len(limiter.asked) == 1


async def test_it_is_settled_after_the_deadline_of_the_call(limiter: ScriptedLimiter, quota: QuotaClient) -> None:
    with call.serving(current_call(seconds_left=-1)):
        assert (await refusal(quota)).reason is Reason.DEADLINE_EXCEEDED
        await quota.settle("r-1", used_tokens=7)
    assert limiter.asked == [pb.SettleRequest(reservation_id="r-1", used_tokens=7)]


def test_a_cancelled_call_has_the_time_to_settle() -> None:
    assert SETTLE_SECONDS < CLEAN_UP_SECONDS

"""The limiter as a turn sees it: reservations of model tokens and places, through the inner listener."""

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration

from meshkit import call, status
from meshkit.call_guard import CLEAN_UP_SECONDS
from meshkit.errors import Code, Reason, ShoalError
from shoal.ratelimit.v1 import ratelimit_pb2 as pb
from shoal.ratelimit.v1.ratelimit_pb2_grpc import RateLimitServiceStub

RESERVE_SECONDS = 1.0
RENEW_SECONDS = 1.0
SETTLE_SECONDS = 0.9 * CLEAN_UP_SECONDS
PLACE_RETRY_SECONDS = 1.0
"""A hint: a place is free when another call of the same caller ends, and nobody knows when."""

R = TypeVar("R")


class QuotaClient:
    """Reservations on behalf of the current call. The channel is closed by whoever opened it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = RateLimitServiceStub(channel)

    async def reserve(self, reservation_id: str, *, tokens: int, ttl_seconds: float) -> None:
        request = pb.ReserveRequest(reservation_id=reservation_id, tokens=tokens, ttl=_duration(ttl_seconds))
        seconds = call.onward_timeout(longest_seconds=RESERVE_SECONDS)
        try:
            response: pb.ReserveResponse = await _called(self._stub.Reserve, request, end=_in(seconds))
        except ShoalError as error:
            if error.reason is Reason.COST_ABOVE_CAPACITY:
                raise _never(tokens, error) from error
            raise
        if not response.granted:
            raise _refusal(response, tokens)

    async def renew(self, reservation_id: str, *, ttl_seconds: float) -> bool:
        request = pb.RenewRequest(reservation_id=reservation_id, ttl=_duration(ttl_seconds))
        response: pb.RenewResponse = await _called(self._stub.Renew, request, end=_in(RENEW_SECONDS))
        return response.renewed

    async def settle(self, reservation_id: str, *, used_tokens: int) -> None:
        request = pb.SettleRequest(reservation_id=reservation_id, used_tokens=used_tokens)
        await _called(self._stub.Settle, request, end=_in(SETTLE_SECONDS))


async def _called(method: Callable[..., Awaitable[R]], request: Any, *, end: float, again: bool = True) -> R:
    """The answer, by `end` on the clock of time.monotonic. What did not get through is sent once more."""
    try:
        return await method(request, timeout=end - time.monotonic(), metadata=call.onward_metadata())
    except grpc.aio.AioRpcError as failed:
        error = status.from_rpc_error(failed)
    if again and error.code is Code.UNAVAILABLE and time.monotonic() < end:
        return await _called(method, request, end=end, again=False)
    raise _limiter_gone(error)


def _limiter_gone(error: ShoalError) -> ShoalError:
    """Whatever keeps the limiter from deciding is the same to a caller; its refusals pass."""
    if error.code not in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
        return error
    return ShoalError(Reason.LIMITER_UNAVAILABLE, "The limiter cannot check what you may use of the model; try again.")


def _refusal(response: pb.ReserveResponse, tokens: int) -> ShoalError:
    """Which limit it was, and when to try again."""
    if response.HasField("retry_after"):
        bucket = response.model_tokens
        return ShoalError(
            Reason.RATE_LIMITED,
            f"Over the limit of {bucket.rate_per_second * 60:.0f} model tokens per minute: this turn may use {tokens}, "
            f"and {bucket.remaining} are left. Wait, or lower max_tokens.",
            retry_after_seconds=response.retry_after.ToMicroseconds() / 1_000_000,
        )
    return ShoalError(
        Reason.RATE_LIMITED,
        f"Over the limit of {response.places.capacity} calls at the same time: wait until one of them has ended.",
        retry_after_seconds=PLACE_RETRY_SECONDS,
    )


def _never(tokens: int, refusal: ShoalError) -> ShoalError:
    return ShoalError(
        Reason.COST_ABOVE_CAPACITY,
        f"This turn may use {tokens} model tokens; lower max_tokens, or show the model less. {refusal.message}",
        field="max_tokens",
    )


def _in(seconds: float) -> float:
    return time.monotonic() + seconds


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration

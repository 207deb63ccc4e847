"""Reservations in Redis, shared by all limiters: one script keeps them and their bucket, by the server's clock."""

from collections.abc import Callable
from pathlib import Path

from redis.asyncio import Redis

from services.ratelimit.buckets.redis_scripts import reported_as_unreachable, size_arguments, with_buckets
from services.ratelimit.limits import CallerLimits, ConcurrencyLimit, RateLimit
from services.ratelimit.patience import in_time
from services.ratelimit.reservations.reservation import Answer, Outcome, Request, answer

_SCRIPT = Path(__file__).with_name("reservation.lua")


class RedisReservationStore:
    """The client belongs to the caller, who closes it, and may send a call twice.

    An operation may take `timeout_seconds`, the lateness of our own event loop apart, and three times as long in all.
    `clock` is as for RedisBucketStore.
    """

    def __init__(self, redis: Redis, *, timeout_seconds: float, clock: Callable[[], int] | None = None) -> None:
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._script = redis.register_script(with_buckets(_SCRIPT))

    async def reserve(self, key_id: str, limits: CallerLimits, request: Request) -> Answer:
        return await self._run("reserve", key_id, limits, request.name, request.tokens, request.ttl_micros)

    async def renew(self, key_id: str, limits: CallerLimits, name: str, ttl_micros: int) -> Answer:
        return await self._run("renew", key_id, limits, name, 0, ttl_micros)

    async def settle(self, key_id: str, limits: CallerLimits, name: str, used: int) -> Answer:
        return await self._run("settle", key_id, limits, name, used, 0)

    async def peek(self, key_id: str, limits: CallerLimits) -> Answer:
        return await self._run("peek", key_id, limits, "", 0, 0)

    async def _run(
        self, operation: str, key_id: str, limits: CallerLimits, name: str, tokens: int, ttl_micros: int
    ) -> Answer:
        # A name has no colon, so the mark of one caller is never that of another.
        keys = [f"tokens:{key_id}", f"running:{key_id}", f"reserved:{key_id}", f"settled:{key_id}:{name}"]
        arguments = [
            self._clock() if self._clock else "",
            *(operation, name, tokens, ttl_micros),
            *_token_arguments(limits.model_tokens),
            *_place_arguments(limits.concurrent),
        ]
        with reported_as_unreachable():
            outcome, grains, running, too_few, no_place = await in_time(
                self._script(keys=keys, args=arguments),
                seconds=self._timeout_seconds,
                at_most=3 * self._timeout_seconds,
            )
        return answer(
            limits,
            Outcome(outcome),
            grains=grains,
            too_few_for=tokens if too_few else None,
            running=running,
            no_place=bool(no_place),
        )


def _token_arguments(tokens: RateLimit | None) -> tuple[int | str, ...]:
    return (*size_arguments(tokens.limit), int(not tokens.shadow)) if tokens else ("", "", "", "")


def _place_arguments(concurrent: ConcurrencyLimit | None) -> tuple[int | str, ...]:
    return (concurrent.calls, int(not concurrent.shadow)) if concurrent else ("", "")

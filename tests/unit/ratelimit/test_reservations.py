"""What callers may do with reservations, over a store in memory."""

from dataclasses import replace

import pytest

from meshkit.errors import Code, Reason, ShoalError
from meshkit.identity import Authentication, Identity
from services.ratelimit.buckets.bucket import MICROS_PER_SECOND, Limit
from services.ratelimit.buckets.bucket_store import BucketsUnreachableError
from services.ratelimit.limits import CallerLimits, ConcurrencyLimit, Kind, Limits, RateLimit
from services.ratelimit.reservations.reservation import Answer, Outcome, Request
from services.ratelimit.reservations.reservation_store import InMemoryReservationStore
from services.ratelimit.reservations.reservations import UNLIMITED, Reservations

MINUTE = 60 * MICROS_PER_SECOND
REQUESTS = RateLimit("requests", Limit(1, 10))
TOKENS, PLACES = RateLimit("tokens", Limit(1, 1000)), ConcurrencyLimit("places", 1)
LIMITS = Limits(
    {
        "anonymous": CallerLimits(REQUESTS),
        "metered": CallerLimits(REQUESTS, TOKENS, PLACES),
        "shadow": CallerLimits(REQUESTS, replace(TOKENS, shadow=True), replace(PLACES, shadow=True)),
    }
)


class LostStore(InMemoryReservationStore):
    """Reservations that cannot be reached, and count how often somebody tried."""

    def __init__(self) -> None:
        super().__init__(lambda: 0)
        self.asked = 0

    async def reserve(self, key_id: str, limits: CallerLimits, request: Request) -> Answer:
        return self._lost()

    async def renew(self, key_id: str, limits: CallerLimits, name: str, ttl_micros: int) -> Answer:
        return self._lost()

    async def settle(self, key_id: str, limits: CallerLimits, name: str, used: int) -> Answer:
        return self._lost()

    async def peek(self, key_id: str, limits: CallerLimits) -> Answer:
        return self._lost()

    def _lost(self) -> Answer:
        self.asked += 1
        raise BucketsUnreachableError


class Counts:
    """What shadows would have refused."""

    def __init__(self) -> None:
        self.refused: list[tuple[Kind, str]] = []

    def __call__(self, kind: Kind, limit: str) -> None:
        self.refused.append((kind, limit))


def reservations(
    store: InMemoryReservationStore | None = None, *, is_reachable: bool = True, count: Counts | None = None
) -> Reservations:
    return Reservations(
        store=store or InMemoryReservationStore(lambda: 0),
        limits=lambda: LIMITS,
        is_reachable=lambda: is_reachable,
        count_shadow=count or Counts(),
    )


def caller(tier: str) -> Identity:
    return Identity("acme", tier, "key_1", Authentication.API_KEY, expires=0.0)


def limits_of(identity: Identity) -> CallerLimits:
    return LIMITS.of(tier=identity.tier, tenant=identity.tenant)


def wish(name: str, tokens: int) -> Request:
    return Request(name, tokens, MINUTE)


async def test_more_than_the_bucket_ever_holds_is_refused_for_good() -> None:
    with pytest.raises(ShoalError, match="The limit of 'tokens' never holds 1001 model tokens") as refused:
        await reservations().reserve(caller("metered"), wish("a", 1001))
    assert (refused.value.reason, refused.value.field) == (Reason.COST_ABOVE_CAPACITY, "tokens")
    assert (refused.value.code, refused.value.retryable) == (Code.INVALID_ARGUMENT, False)


async def test_a_name_that_was_settled_is_refused_for_good() -> None:
    mine = reservations()
    await mine.reserve(caller("metered"), wish("a", 10))
    await mine.settle(caller("metered"), "a", 10)
    with pytest.raises(ShoalError) as refused:
        await mine.reserve(caller("metered"), wish("a", 10))
    assert (refused.value.reason, refused.value.field) == (Reason.FIELD_INVALID, "reservation_id")


async def test_who_has_no_such_limits_is_granted_everything_without_asking() -> None:
    store = LostStore()
    mine = reservations(store, is_reachable=False)
    free = caller("anonymous")
    assert (await mine.reserve(free, wish("a", 2**32 - 1)))[1] == UNLIMITED
    assert await mine.renew(free, "a", MINUTE) == UNLIMITED
    assert (await mine.settle(free, "a", 2**32 - 1))[1] == UNLIMITED
    assert await mine.peek(free, limits_of(free)) == UNLIMITED
    assert store.asked == 0


@pytest.mark.parametrize(("is_reachable", "asked"), [(True, 4), (False, 0)])
async def test_nothing_is_reserved_or_settled_while_the_store_is_gone(is_reachable: bool, asked: int) -> None:
    store = LostStore()
    mine, who = reservations(store, is_reachable=is_reachable), caller("metered")
    for attempt in (
        mine.reserve(who, wish("a", 1)),
        mine.renew(who, "a", MINUTE),
        mine.settle(who, "a", 1),
        mine.peek(who, limits_of(who)),
    ):
        with pytest.raises(ShoalError) as refused:
            await attempt
        assert (refused.value.reason, refused.value.retryable) == (Reason.LIMITER_UNAVAILABLE, True)
    assert store.asked == asked


async def test_what_shadows_would_have_refused_is_granted_and_counted_once() -> None:
    count = Counts()
    mine = reservations(count=count)
    await mine.reserve(caller("shadow"), wish("a", 600))
    assert count.refused == []
    for _ in range(2):
        _, answer = await mine.reserve(caller("shadow"), wish("b", 5000))
        assert answer.outcome is Outcome.DONE
    assert count.refused == [(Kind.MODEL_TOKENS, "tokens"), (Kind.CONCURRENT, "places")]


async def test_what_an_enforced_limit_refuses_is_no_shadow_refusal() -> None:
    count = Counts()
    mine = reservations(count=count)
    await mine.reserve(caller("metered"), wish("a", 600))
    _, answer = await mine.reserve(caller("metered"), wish("b", 600))
    assert answer.outcome is Outcome.NOTHING_DONE
    assert count.refused == []

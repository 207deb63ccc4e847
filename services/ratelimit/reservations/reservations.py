"""What callers may do with reservations, by the limits that hold for them now."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from meshkit.errors import Reason, ShoalError, field_invalid
from meshkit.identity import Identity
from services.ratelimit.buckets.bucket_store import BucketsUnreachableError
from services.ratelimit.limits import CallerLimits, CountShadow, Kind, Limits
from services.ratelimit.reservations.reservation import Answer, Outcome, Request
from services.ratelimit.reservations.reservation_store import ReservationStore

UNLIMITED = Answer(Outcome.DONE)


class Reservations:
    """Reserves, renews and settles. A caller without limits of model tokens and of concurrent calls needs no store.

    While the store cannot be used everything raises ShoalError LIMITER_UNAVAILABLE: a share of a limit, as the buckets
    of requests have it then, could not be settled when the store is back.
    """

    def __init__(
        self,
        *,
        store: ReservationStore,
        limits: Callable[[], Limits],
        is_reachable: Callable[[], bool],
        count_shadow: CountShadow,
    ) -> None:
        """`limits` tells those that hold now. While `is_reachable` says no, the store is not asked at all."""
        self._store = store
        self._limits = limits
        self._is_reachable = is_reachable
        self._count_shadow = count_shadow

    async def reserve(self, identity: Identity, request: Request) -> tuple[CallerLimits, Answer]:
        """Raises ShoalError also for more tokens than there ever are, and for a name that was settled."""
        limits = self._limits_of(identity)
        _check_tokens(limits, request.tokens)
        if not limits.metered:
            return limits, UNLIMITED
        with self._reached():
            answer = await self._store.reserve(identity.key_id, limits, request)
        if answer.outcome is Outcome.NAME_SPENT:
            raise field_invalid("reservation_id", "be new: the reservation of that name was settled")
        if answer.outcome is Outcome.DONE:
            self._count_shadows(limits, answer)
        return limits, answer

    async def renew(self, identity: Identity, name: str, ttl_micros: int) -> Answer:
        limits = self._limits_of(identity)
        if not limits.metered:
            return UNLIMITED
        with self._reached():
            return await self._store.renew(identity.key_id, limits, name, ttl_micros)

    async def settle(self, identity: Identity, name: str, used: int) -> tuple[CallerLimits, Answer]:
        limits = self._limits_of(identity)
        if not limits.metered:
            return limits, UNLIMITED
        with self._reached():
            return limits, await self._store.settle(identity.key_id, limits, name, used)

    async def peek(self, identity: Identity, limits: CallerLimits) -> Answer:
        """What is left under the caller's limits."""
        if not limits.metered:
            return UNLIMITED
        with self._reached():
            return await self._store.peek(identity.key_id, limits)

    def _limits_of(self, identity: Identity) -> CallerLimits:
        return self._limits().of(tier=identity.tier, tenant=identity.tenant)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        if not self._is_reachable():
            raise _unavailable()
        try:
            yield
        except BucketsUnreachableError as error:
            raise _unavailable() from error

    def _count_shadows(self, limits: CallerLimits, answer: Answer) -> None:
        """What was granted although a limit had too little, was granted by its shadow."""
        if limits.model_tokens and answer.model_tokens and answer.model_tokens.wait_micros:
            self._count_shadow(Kind.MODEL_TOKENS, limits.model_tokens.name)
        if limits.concurrent and answer.places and answer.places.was_full:
            self._count_shadow(Kind.CONCURRENT, limits.concurrent.name)


def _check_tokens(limits: CallerLimits, tokens: int) -> None:
    rate = limits.model_tokens
    if rate and not rate.shadow and tokens > rate.limit.capacity:
        raise ShoalError(
            Reason.COST_ABOVE_CAPACITY,
            f"The limit of '{rate.name}' never holds {tokens} model tokens; reserve {rate.limit.capacity} or fewer.",
            field="tokens",
        )


def _unavailable() -> ShoalError:
    return ShoalError(Reason.LIMITER_UNAVAILABLE, "Nothing can be reserved or settled now; try again.")

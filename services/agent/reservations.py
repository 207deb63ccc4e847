"""Reservations: a call of a model holds tokens and a place from before it begins until it ends, however it ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from meshkit.errors import Reason, ShoalError
from services.agent.metering import Meter, NoMeter, most_tokens
from services.agent.ports import AgentTurn, Quota

RENEWALS_PER_TTL = 3
"""So often that one may be lost."""

_REFUSED = (Reason.RATE_LIMITED, Reason.COST_ABOVE_CAPACITY)

log = structlog.get_logger()


class Reservation:
    """Tokens and a place for one turn, and the meter of what it uses."""

    def __init__(self, quota: Quota, reservation_id: str, *, meter: Meter, ttl_seconds: float) -> None:
        self.meter = meter
        self._quota = quota
        self._id = reservation_id
        self._ttl_seconds = ttl_seconds
        self._renewing: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None

    async def make(self, tokens: int) -> None:
        """Sets the tokens aside, takes a place, and renews both until it is settled. Raises what Quota.reserve does."""
        try:
            await self._quota.reserve(self._id, tokens=tokens, ttl_seconds=self._ttl_seconds)
        except BaseException as error:
            if not (isinstance(error, ShoalError) and error.reason in _REFUSED):
                await self.settle()  # Nobody knows whether it was made.
            raise
        self._renewing = asyncio.create_task(self._renew())

    async def settle(self) -> None:
        """Ends it with what the meter says now. It happens once; whoever comes again waits until it has.

        A cancellation waits too, for as long as Quota.settle takes.
        """
        if self._settling is None:
            if self._renewing is not None:
                self._renewing.cancel()
            self._settling = asyncio.create_task(self._settle())
        await _end_of(self._settling)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_seconds / RENEWALS_PER_TTL)
            try:
                if not await self._quota.renew(self._id, ttl_seconds=self._ttl_seconds):
                    log.warning("reservation was lost", reservation_id=self._id)
                    return
            except ShoalError as error:
                log.warning("reservation not renewed", reservation_id=self._id, reason=error.reason)

    async def _settle(self) -> None:
        used = self.meter.used()
        try:
            await self._quota.settle(self._id, used_tokens=used)
        except ShoalError as error:
            # Its time to live ends it: the place is free then, and the tokens are given back.
            log.warning("reservation not settled", reservation_id=self._id, used=used, reason=error.reason)


class NoReservation:
    """What a turn has that needs none: nothing is set aside, and nothing is measured."""

    def __init__(self) -> None:
        self.meter = NoMeter()

    async def settle(self) -> None:
        pass


class Reserver:
    """Makes reservations for turns. One for the whole process."""

    def __init__(self, quota: Quota, *, answer_tokens: int, ttl_seconds: float, mint_id: Callable[[str], str]) -> None:
        """`answer_tokens` are set aside for the answer to a caller who names no max_tokens. A reservation outlives a
        killed process by at most `ttl_seconds`. `mint_id` makes an unguessable id of at most 64 characters with the
        given prefix."""
        self._quota = quota
        self._answer_tokens = answer_tokens
        self._ttl_seconds = ttl_seconds
        self._mint_id = mint_id

    @asynccontextmanager
    async def held(self, turn: AgentTurn) -> AsyncIterator[Reservation]:
        """Reserves the most that the turn may use; it has been settled in the end. Raises what Quota.reserve does."""
        reservation = Reservation(
            self._quota, self._mint_id("reservation"), meter=Meter(turn), ttl_seconds=self._ttl_seconds
        )
        await reservation.make(most_tokens(turn, answer_tokens=self._answer_tokens))
        try:
            yield reservation
        finally:
            await reservation.settle()


async def _end_of(working: asyncio.Task[None]) -> None:
    """Waits for the work also if this task is cancelled meanwhile, which comes after it then."""
    cancelled: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait({working})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    await working

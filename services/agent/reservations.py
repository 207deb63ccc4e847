"""Reservations: a call of a model holds tokens and a place from before it begins until it ends, however it ends."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

from meshkit.errors import Reason, ShoalError
from services.agent.ports import Quota

RENEWALS_PER_TTL = 3
"""So often that one may be lost."""

_REFUSED = (Reason.RATE_LIMITED, Reason.COST_ABOVE_CAPACITY)

log = structlog.get_logger()


class Reservations:
    """Makes, renews and settles reservations. One for the whole process."""

    def __init__(self, quota: Quota, *, ttl_seconds: float, mint_id: Callable[[str], str]) -> None:
        """A reservation outlives a killed process by at most `ttl_seconds`. `mint_id` makes an unguessable id of at
        most 64 characters with the given prefix."""
        self._quota = quota
        self._ttl_seconds = ttl_seconds
        self._mint_id = mint_id

    @asynccontextmanager
    async def held(self, tokens: int, *, used: Callable[[], int]) -> AsyncIterator[None]:
        """Holds `tokens` and a place inside. `used` is asked in the end for the tokens that were really used.

        Raises what Quota.reserve does. A cancellation waits until it is settled, for as long as Quota.settle takes.
        """
        reservation_id = self._mint_id("reservation")
        await self._reserve(reservation_id, tokens)
        renewing = asyncio.create_task(self._renew(reservation_id))
        try:
            yield
        finally:
            renewing.cancel()
            await _to_the_end(self._settle(reservation_id, used()))

    async def _reserve(self, reservation_id: str, tokens: int) -> None:
        try:
            await self._quota.reserve(reservation_id, tokens=tokens, ttl_seconds=self._ttl_seconds)
        except BaseException as error:
            if not (isinstance(error, ShoalError) and error.reason in _REFUSED):
                # Nobody knows whether it was made.
                await _to_the_end(self._settle(reservation_id, 0))
            raise

    async def _renew(self, reservation_id: str) -> None:
        while True:
            await asyncio.sleep(self._ttl_seconds / RENEWALS_PER_TTL)
            try:
                if not await self._quota.renew(reservation_id, ttl_seconds=self._ttl_seconds):
                    log.warning("reservation was lost", reservation_id=reservation_id)
                    return
            except ShoalError as error:
                log.warning("reservation not renewed", reservation_id=reservation_id, reason=error.reason)

    async def _settle(self, reservation_id: str, used_tokens: int) -> None:
        try:
            await self._quota.settle(reservation_id, used_tokens=used_tokens)
        except ShoalError as error:
            # Its time to live ends it: the place is free then, and the tokens are given back.
            log.warning("reservation not settled", reservation_id=reservation_id, used=used_tokens, reason=error.reason)


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Does the work also if this task is cancelled meanwhile, which comes after it then."""
    working = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait({working})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    await working

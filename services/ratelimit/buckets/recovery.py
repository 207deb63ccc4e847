"""The end of an outage: how a limiter finds the shared buckets again, and pays them what it owes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import NoReturn

from msgspec.structs import replace

from services.ratelimit.buckets.bucket import MICROS_PER_SECOND, Spend
from services.ratelimit.buckets.bucket_store import BucketsUnreachableError
from services.ratelimit.buckets.circuit_breaker import CircuitBreaker
from services.ratelimit.buckets.fleet import Fleet, FleetSize
from services.ratelimit.buckets.local_buckets import LocalBuckets
from services.ratelimit.buckets.shared_buckets import SharedBuckets

BEAT_SECONDS = 1.0
PROBE_SECONDS = 0.5
"""How often an open breaker is tried: the promise is to share again within 2 s."""
PAID_TOGETHER = 256


class Recovery:
    """Counts the limiters, notices that shared buckets were lost, and closes the breaker when they answer again.

    `clock` is in seconds and never steps back; `counted` is told how many limiters there are.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        size: FleetSize,
        shared: SharedBuckets,
        local: LocalBuckets,
        breaker: CircuitBreaker,
        counted: Callable[[int], None],
        clock: Callable[[], float],
    ) -> None:
        self._fleet = fleet
        self._size = size
        self._shared = shared
        self._local = local
        self._breaker = breaker
        self._counted = counted
        self._clock = clock
        self._missing: dict[str, Spend] = {}
        self._charges: dict[str, Spend] = {}
        self.epoch = ""
        """Of the shared buckets, as this limiter knows it."""

    async def watch(self, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> NoReturn:
        """Goes on for as long as the buckets are used."""
        while True:
            await self.beat()
            await pause(PROBE_SECONDS if self._breaker.is_open else BEAT_SECONDS)

    async def beat(self) -> None:
        """Says that this limiter is alive, and settles what there is to settle, if the shared buckets answer."""
        try:
            beat = await self._breaker.answer(self._fleet.beat())
            self._size.counted(beat.limiters, self._clock())
            self._counted(beat.limiters)
            if self.epoch not in ("", beat.epoch):
                self._missing = {spend.bucket: spend for spend in self._local.lost(self._micros())}
            self.epoch = beat.epoch
            await self._pay(self._missing)
            await self._charge()
            self._breaker.close()
            # What was taken alone while the charges were in flight.
            await self._charge()
        except BucketsUnreachableError:
            return

    async def _charge(self) -> None:
        self._owe(self._local.owed(self._micros(), sharers=int(self._size)))
        await self._pay(self._charges)

    async def _pay(self, debts: dict[str, Spend]) -> None:
        """What cannot be paid now is kept for the next time."""
        while together := list(islice(debts.values(), PAID_TOGETHER)):
            paying = self._shared.take_each([[debt] for debt in together], epoch=self.epoch)
            decisions = await self._breaker.answer(paying)
            for debt, decision in zip(together, decisions, strict=True):
                del debts[debt.bucket]
                self._local.saw([debt], decision, self._micros())

    def _owe(self, charges: Iterable[Spend]) -> None:
        for charge in charges:
            before = self._charges.get(charge.bucket)
            cost = min(charge.limit.capacity, charge.cost + (before.cost if before else 0))
            self._charges[charge.bucket] = replace(charge, cost=cost)

    def _micros(self) -> int:
        return round(self._clock() * MICROS_PER_SECOND)

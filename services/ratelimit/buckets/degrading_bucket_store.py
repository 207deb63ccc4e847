"""The shared buckets while they answer in time, and this limiter's share of them while they do not."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

from services.ratelimit.buckets.batching import Batcher
from services.ratelimit.buckets.bucket import MICROS_PER_SECOND, Decision, Spend
from services.ratelimit.buckets.bucket_store import BucketsUnreachableError
from services.ratelimit.buckets.fleet import Fleet, FleetSize
from services.ratelimit.buckets.local_buckets import LocalBuckets
from services.ratelimit.patience import in_time

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 0.035
"""How long the shared buckets may take, apart from the lateness of our own event loop."""
LATE_IN_A_ROW = 3
"""So many answers in a row that come too late are an outage; one alone may be a machine that was busy for a moment."""
AT_MOST_SECONDS = 0.15
"""How long they may take in all: less than the 0.2 s that Envoy waits for us."""
BEAT_SECONDS = 1.0
PROBE_SECONDS = 0.5
CHARGED_TOGETHER = 256


class SharedBuckets(Protocol):
    """Buckets that all limiters share."""

    async def take_each(self, wishes: Sequence[Sequence[Spend]]) -> list[Decision]:
        """Decides on several wishes, one after the other. Raises BucketsUnreachableError."""
        ...


class Observer(Protocol):
    """Is told what happens, for logs and metrics."""

    def degraded(self, cause: BaseException | None) -> None:
        """From now on, decisions are made from the own share."""
        ...

    def recovered(self) -> None:
        """From now on, decisions are shared again."""
        ...

    def decided_alone(self) -> None: ...

    def counted(self, limiters: int) -> None: ...

    def took_together(self, wishes: int) -> None:
        """So many wishes shared a round trip."""
        ...


class DegradingBucketStore:
    """Decides on every wish. `clock` is in seconds and never steps back.

    What the shared buckets do not answer in time is decided here. When they fail, or are late several times in a row,
    everything is, until `watch` finds that they answer again. They are charged with what was taken here meanwhile, so
    that no outage, and no row of them, refills a bucket twice.
    """

    def __init__(
        self, *, shared: SharedBuckets, fleet: Fleet, at_least: int, observer: Observer, clock: Callable[[], float]
    ) -> None:
        """`at_least` is how many limiters there are, as far as is known without asking."""
        self._shared = shared
        self._fleet = fleet
        self._size = FleetSize(at_least=at_least)
        self._observer = observer
        self._clock = clock
        self._local = LocalBuckets()
        self._batcher = Batcher(self._take_together)
        self._epoch = ""
        self._late = 0
        self.is_degraded = False

    async def take(self, spends: Sequence[Spend]) -> Decision:
        """Takes all spends or none; the names of the buckets differ. Never fails."""
        if not self.is_degraded:
            try:
                decision = await self._batcher.ask(spends)
            except BucketsUnreachableError:
                pass
            else:
                self._local.saw(spends, decision, self._micros())
                return decision
        self._observer.decided_alone()
        return self._local.take(spends, self._micros(), sharers=int(self._size))

    async def watch(self) -> NoReturn:
        """Counts the limiters and ends an outage, for as long as the store is used."""
        while True:
            await self.look()
            await asyncio.sleep(PROBE_SECONDS if self.is_degraded else BEAT_SECONDS)

    async def look(self) -> None:
        """Tries whether the shared buckets can be used."""
        try:
            beat = await self._answered(self._fleet.beat())
            self._size.counted(beat.limiters, self._clock())
            self._observer.counted(beat.limiters)
            if self._epoch not in ("", beat.epoch):
                await self._charge(self._local.lost(self._micros(), sharers=int(self._size)))
            self._epoch = beat.epoch
            await self._charge_what_is_owed()
            if self.is_degraded:
                self.is_degraded = False
                self._observer.recovered()
                # What was taken while the charges were on their way.
                await self._charge_what_is_owed()
        except BucketsUnreachableError:
            return

    async def _charge_what_is_owed(self) -> None:
        await self._charge(self._local.owed(self._micros(), sharers=int(self._size)))

    async def _charge(self, owed: Sequence[Spend]) -> None:
        for start in range(0, len(owed), CHARGED_TOGETHER):
            charges = owed[start : start + CHARGED_TOGETHER]
            decisions = await self._take_each([[charge] for charge in charges])
            for charge, decision in zip(charges, decisions, strict=True):
                self._local.settled(charge)
                self._local.saw([charge], decision, self._micros())

    async def _take_together(self, wishes: Sequence[Sequence[Spend]]) -> list[Decision]:
        self._observer.took_together(len(wishes))
        return await self._take_each(wishes)

    async def _take_each(self, wishes: Sequence[Sequence[Spend]]) -> list[Decision]:
        return await self._answered(self._shared.take_each(wishes))

    async def _answered(self, call: Coroutine[Any, Any, Answer]) -> Answer:
        """Raises BucketsUnreachableError, also when the answer does not come in time."""
        try:
            answer = await in_time(call, seconds=PATIENCE_SECONDS, at_most=AT_MOST_SECONDS)
        except TimeoutError as error:
            self._late += 1
            if self._late >= LATE_IN_A_ROW:
                self._degrade(error)
            raise BucketsUnreachableError("no answer in time") from error
        except BucketsUnreachableError as error:
            self._degrade(error.__cause__)
            raise
        self._late = 0
        return answer

    def _degrade(self, cause: BaseException | None) -> None:
        if not self.is_degraded:
            self.is_degraded = True
            self._observer.degraded(cause)

    def _micros(self) -> int:
        return round(self._clock() * MICROS_PER_SECOND)

"""The shared buckets while they answer in time, and this limiter's share of them while they do not."""

from collections.abc import Callable, Sequence
from typing import Protocol

from meshkit.batching import Batcher
from services.ratelimit.buckets.bucket import MICROS_PER_SECOND, Decision, Spend
from services.ratelimit.buckets.bucket_store import BucketsUnreachableError
from services.ratelimit.buckets.circuit_breaker import CircuitBreaker
from services.ratelimit.buckets.fleet import Fleet, FleetSize
from services.ratelimit.buckets.local_buckets import LocalBuckets
from services.ratelimit.buckets.pace import pause_after
from services.ratelimit.buckets.recovery import Recovery
from services.ratelimit.buckets.shared_buckets import SharedBuckets


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

    def took_together(self, groups: int) -> None:
        """So many groups of spends shared a round trip."""
        ...


class DegradingBucketStore:
    """Decides on everything. `clock` is in seconds and never steps back.

    What the shared buckets do not answer in time is decided here. When they fail, or are late several times in a row,
    everything is, until `recovery` finds that they answer again. They are charged with what was taken here meanwhile,
    so that no outage, and no row of them, refills a bucket twice.
    """

    def __init__(
        self,
        *,
        shared: SharedBuckets,
        fleet: Fleet,
        at_least: int,
        observer: Observer,
        clock: Callable[[], float],
        pause: Callable[[int], float] = pause_after,
    ) -> None:
        """`at_least` is how many limiters there are, as far as is known without asking; `pause` is the batches'."""
        self._shared = shared
        self._size = FleetSize(at_least=at_least)
        self._observer = observer
        self._clock = clock
        self._local = LocalBuckets()
        self._breaker = CircuitBreaker(opened=observer.degraded, closed=observer.recovered)
        observer.counted(at_least)
        self._batcher = Batcher(self._take_together, pause=pause)
        self.recovery = Recovery(
            fleet=fleet,
            size=self._size,
            shared=shared,
            local=self._local,
            breaker=self._breaker,
            counted=observer.counted,
            clock=clock,
        )

    @property
    def is_degraded(self) -> bool:
        return self._breaker.is_open

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

    async def _take_together(self, groups: Sequence[Sequence[Spend]]) -> list[Decision]:
        self._observer.took_together(len(groups))
        return await self._breaker.answer(self._shared.take_each(groups, epoch=self.recovery.epoch))

    def _micros(self) -> int:
        return round(self._clock() * MICROS_PER_SECOND)

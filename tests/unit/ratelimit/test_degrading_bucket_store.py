"""The shared buckets while they answer, and the own share while they do not: what is let through in all."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from services.ratelimit.buckets.bucket import MICROS_PER_SECOND, Decision, Limit, Spend
from services.ratelimit.buckets.bucket_store import BucketsUnreachableError, InMemoryBucketStore
from services.ratelimit.buckets.circuit_breaker import LATE_IN_A_ROW
from services.ratelimit.buckets.degrading_bucket_store import DegradingBucketStore
from services.ratelimit.buckets.fleet import Beat
from services.ratelimit.buckets.recovery import BEAT_SECONDS, PROBE_SECONDS
from tests.limiter_notes import Notes

FREE = Limit(1, 12)


@dataclass
class Shared:
    """The buckets, and the register of limiters, that Redis would hold."""

    seconds: float = 0.0
    limiters: int = 3
    losses: int = -1
    is_gone: bool = False
    asked: int = 0
    silence: asyncio.Event | None = None
    """Where it is set, a question waits for it."""
    holds_back: asyncio.Event | None = None
    """Where it is set, buckets are not taken from before it is."""
    is_held_back: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.lose_everything()

    def lose_everything(self) -> None:
        self.losses += 1
        self._buckets = InMemoryBucketStore(lambda: round(self.seconds * MICROS_PER_SECOND))

    async def take_each(self, groups: Sequence[Sequence[Spend]], *, epoch: str) -> list[Decision]:
        self.asked += 1
        await self._answer()
        if epoch not in ("", str(self.losses)):
            raise BucketsUnreachableError from ValueError("lost")
        if self.holds_back is not None:
            self.is_held_back.set()
            await self.holds_back.wait()
        return [await self._buckets.take(spends) for spends in groups]

    async def beat(self) -> Beat:
        await self._answer()
        return Beat(self.limiters, str(self.losses))

    async def _answer(self) -> None:
        if self.silence is not None:
            await self.silence.wait()
        if self.is_gone:
            raise BucketsUnreachableError from ConnectionError()


class EndOfTest(Exception):  # noqa: N818 - it is no error
    """Ends what would go on for ever."""


def limiter(shared: Shared, notes: Notes | None = None, *, at_least: int = 1) -> DegradingBucketStore:
    return DegradingBucketStore(
        shared=shared,
        fleet=shared,
        at_least=at_least,
        observer=notes or Notes(),
        clock=lambda: shared.seconds,
        pause=lambda _: 0.0,
    )


async def admitted(store: DegradingBucketStore, wishes: int) -> int:
    decisions = [await store.take([Spend("a", FREE, 1)]) for _ in range(wishes)]
    return sum(decision.allowed for decision in decisions)


async def test_while_the_shared_buckets_answer_all_limiters_share_one_bucket() -> None:
    shared = Shared()
    first, second = limiter(shared), limiter(shared)
    assert await admitted(first, 8) + await admitted(second, 8) == 12
    assert not (await first.take([Spend("a", FREE, 1)])).degraded


async def test_without_them_each_limiter_lets_its_share_through() -> None:
    shared = Shared()
    stores = [limiter(shared) for _ in range(3)]
    for store in stores:
        await store.recovery.beat()
    shared.is_gone = True
    assert [await admitted(store, 20) for store in stores] == [4, 4, 4]


async def test_one_that_never_met_the_others_trusts_what_it_was_told_of_their_number() -> None:
    store = limiter(Shared(is_gone=True), at_least=3)
    await store.recovery.beat()
    assert await admitted(store, 20) == 4


async def test_during_an_outage_nobody_waits_for_the_shared_buckets() -> None:
    shared = Shared(is_gone=True)
    store = limiter(shared)
    await admitted(store, 20)
    assert shared.asked == 1


async def test_silence_is_an_outage() -> None:
    shared = Shared(silence=asyncio.Event())
    notes = Notes()
    store = limiter(shared, notes)
    for lateness in range(1, LATE_IN_A_ROW + 1):
        decisions = await asyncio.gather(*(store.take([Spend("a", FREE, 1)]) for _ in range(20)))
        assert all(decision.degraded for decision in decisions)
        assert notes.changes == (["degraded"] if lateness == LATE_IN_A_ROW else [])


async def test_one_late_answer_is_decided_alone_and_is_no_outage() -> None:
    shared, notes = Shared(limiters=1, silence=asyncio.Event()), Notes()
    store = limiter(shared, notes)
    assert (await store.take([Spend("a", FREE, 5)])).degraded
    shared.silence = None
    assert await admitted(limiter(shared), 12) == 12
    assert not (await store.take([Spend("a", FREE, 0)])).degraded
    assert notes.changes == []
    await store.recovery.beat()
    shared.seconds = 5
    assert await admitted(limiter(shared), 12) == 0


async def test_an_outage_is_told_once_and_its_decisions_are_counted() -> None:
    shared, notes = Shared(), Notes()
    store = limiter(shared, notes)
    shared.is_gone = True
    await admitted(store, 5)
    await store.recovery.beat()
    assert (notes.changes, notes.alone) == (["degraded"], 5)
    shared.is_gone = False
    await store.recovery.beat()
    await store.recovery.beat()
    await admitted(store, 5)
    assert (notes.changes, notes.alone) == (["degraded", "recovered"], 5)


async def test_what_was_let_through_in_an_outage_is_charged_when_it_ends() -> None:
    shared = Shared(limiters=1)
    store = limiter(shared)
    await store.recovery.beat()
    shared.is_gone = True
    assert await admitted(store, 5) == 5
    shared.is_gone = False
    await store.recovery.beat()
    assert await admitted(store, 20) == 7


async def test_buckets_that_were_lost_are_not_full_again() -> None:
    shared = Shared(limiters=2)
    stores = [limiter(shared), limiter(shared)]
    for store in stores:
        await store.recovery.beat()
    assert [await admitted(stores[number % 2], 1) for number in range(12)] == [1] * 12
    for _ in range(5):
        shared.lose_everything()
        assert await admitted(stores[0], 3) + await admitted(stores[1], 3) == 0
        for store in stores:
            await store.recovery.beat()
        assert not stores[0].is_degraded
        assert await admitted(stores[0], 3) + await admitted(stores[1], 3) == 0


async def test_a_charge_that_fails_is_not_forgotten() -> None:
    shared = Shared(limiters=1)
    store = limiter(shared)
    shared.is_gone = True
    await admitted(store, 5)
    await store.recovery.beat()
    shared.is_gone = False
    await store.recovery.beat()
    assert await admitted(limiter(shared), 20) == 7


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("keeps_its_data", [True, False], ids=["data kept", "data lost"])
async def test_whatever_the_outages_no_more_passes_than_rate_and_three_bursts(seed: int, keeps_its_data: bool) -> None:
    chance = random.Random(seed)  # noqa: S311 - a repeatable history is wanted, not a secret
    shared = Shared()
    stores = [limiter(shared) for _ in range(shared.limiters)]
    looked = dict.fromkeys(stores, 0.0)
    for store in stores:
        await store.recovery.beat()
    passed = outages = 0
    while shared.seconds < 600:
        shared.seconds += chance.expovariate(1 / 0.2)
        if chance.random() < 0.02:
            shared.is_gone = not shared.is_gone
            outages += shared.is_gone
            if shared.is_gone and not keeps_its_data:
                shared.lose_everything()
        for store in stores:
            if shared.seconds >= looked[store] + PROBE_SECONDS:
                looked[store] = shared.seconds
                await store.recovery.beat()
        passed += await admitted(chance.choice(stores), chance.randint(0, 3))
        assert passed <= FREE.rate_per_second * shared.seconds + 3 * FREE.capacity
    assert outages > 5


async def test_what_is_taken_while_the_charges_are_in_flight_is_charged_too() -> None:
    shared = Shared(limiters=1)
    store = limiter(shared)
    await store.recovery.beat()
    shared.is_gone = True
    assert await admitted(store, 5) == 5
    shared.is_gone, shared.holds_back = False, asyncio.Event()
    recovering = asyncio.create_task(store.recovery.beat())
    await shared.is_held_back.wait()
    assert await admitted(store, 20) == 7
    shared.holds_back.set()
    await recovering
    assert await admitted(store, 20) == 0
    assert await admitted(limiter(shared), 20) == 0


async def test_an_outage_is_looked_at_more_often_than_the_peace() -> None:
    shared = Shared()
    store = limiter(shared)
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        shared.is_gone = len(pauses) in (1, 2)
        if len(pauses) == 4:
            raise EndOfTest

    with pytest.raises(EndOfTest):
        await store.recovery.watch(pause=pause)
    assert pauses == [BEAT_SECONDS, PROBE_SECONDS, PROBE_SECONDS, BEAT_SECONDS]
    assert not store.is_degraded

"""The shared buckets while they answer, and the own share while they do not: what is let through in all."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from services.ratelimit.buckets.bucket import MICROS_PER_SECOND, Decision, Limit, Spend
from services.ratelimit.buckets.bucket_store import BucketsUnreachableError, InMemoryBucketStore
from services.ratelimit.buckets.degrading_bucket_store import LATE_IN_A_ROW, PROBE_SECONDS, DegradingBucketStore
from services.ratelimit.buckets.fleet import Beat

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

    def __post_init__(self) -> None:
        self.lose_everything()

    def lose_everything(self) -> None:
        self.losses += 1
        self._buckets = InMemoryBucketStore(lambda: round(self.seconds * MICROS_PER_SECOND))

    async def take_each(self, wishes: Sequence[Sequence[Spend]]) -> list[Decision]:
        self.asked += 1
        await self._answer()
        return [await self._buckets.take(spends) for spends in wishes]

    async def beat(self) -> Beat:
        await self._answer()
        return Beat(self.limiters, str(self.losses))

    async def _answer(self) -> None:
        if self.silence is not None:
            await self.silence.wait()
        if self.is_gone:
            raise BucketsUnreachableError from ConnectionError()


@dataclass
class Notes:
    """What the store told."""

    changes: list[str] = field(default_factory=list)
    alone: int = 0

    def degraded(self, cause: BaseException | None) -> None:
        self.changes.append("degraded")

    def recovered(self) -> None:
        self.changes.append("recovered")

    def decided_alone(self) -> None:
        self.alone += 1

    def counted(self, limiters: int) -> None: ...

    def took_together(self, wishes: int) -> None: ...


def limiter(shared: Shared, notes: Notes | None = None, *, at_least: int = 1) -> DegradingBucketStore:
    return DegradingBucketStore(
        shared=shared, fleet=shared, at_least=at_least, observer=notes or Notes(), clock=lambda: shared.seconds
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
        await store.look()
    shared.is_gone = True
    assert [await admitted(store, 20) for store in stores] == [4, 4, 4]


async def test_one_that_never_met_the_others_trusts_what_it_was_told_of_their_number() -> None:
    store = limiter(Shared(is_gone=True), at_least=3)
    await store.look()
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
    await store.look()
    shared.seconds = 5
    assert await admitted(limiter(shared), 12) == 0


async def test_an_outage_is_told_once_and_its_decisions_are_counted() -> None:
    shared, notes = Shared(), Notes()
    store = limiter(shared, notes)
    shared.is_gone = True
    await admitted(store, 5)
    await store.look()
    assert (notes.changes, notes.alone) == (["degraded"], 5)
    shared.is_gone = False
    await store.look()
    await store.look()
    await admitted(store, 5)
    assert (notes.changes, notes.alone) == (["degraded", "recovered"], 5)


async def test_what_was_let_through_in_an_outage_is_charged_when_it_ends() -> None:
    shared = Shared(limiters=1)
    store = limiter(shared)
    await store.look()
    shared.is_gone = True
    assert await admitted(store, 5) == 5
    shared.is_gone = False
    await store.look()
    assert await admitted(store, 20) == 7


async def test_a_charge_that_fails_is_not_forgotten() -> None:
    shared = Shared(limiters=1)
    store = limiter(shared)
    shared.is_gone = True
    await admitted(store, 5)
    await store.look()
    shared.is_gone = False
    await store.look()
    assert await admitted(limiter(shared), 20) == 7


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("keeps_its_data", [True, False], ids=["data kept", "data lost"])
async def test_whatever_the_outages_no_more_passes_than_rate_and_three_bursts(seed: int, keeps_its_data: bool) -> None:
    chance = random.Random(seed)  # noqa: S311 - a repeatable history is wanted, not a secret
    shared = Shared()
    stores = [limiter(shared) for _ in range(shared.limiters)]
    looked = dict.fromkeys(stores, 0.0)
    for store in stores:
        await store.look()
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
                await store.look()
        passed += await admitted(chance.choice(stores), chance.randint(0, 3))
        assert passed <= FREE.rate_per_second * shared.seconds + 3 * FREE.capacity
    assert outages > 5

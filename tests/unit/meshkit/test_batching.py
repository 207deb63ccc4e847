"""Questions that arrive together travel together."""

import asyncio
from collections.abc import Sequence

import pytest

from meshkit.batching import Batcher

LARGEST = 50
IN_FLIGHT = 3


class Doubling:
    """Answers each number with its double, when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.let = asyncio.Event()
        self.let.set()
        self.failure: Exception | None = None

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        await self.let.wait()
        if self.failure is not None:
            raise self.failure
        return [2 * number for number in numbers]


async def ticks(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_is_asked_in_one_tick_shares_one_call_and_each_gets_its_own_answer() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling, largest=LARGEST, most_in_flight=IN_FLIGHT)
    assert await asyncio.gather(*(batcher.ask(number) for number in range(50))) == [2 * n for n in range(50)]
    assert doubling.batches == [list(range(50))]


async def test_one_alone_is_sent_in_the_tick_in_which_it_asks() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling, largest=LARGEST, most_in_flight=IN_FLIGHT)
    asking = asyncio.create_task(batcher.ask(7))
    await ticks(3)
    assert doubling.batches == [[7]]
    assert await asking == 14


async def test_while_batches_are_on_their_way_the_next_one_gathers() -> None:
    doubling = Doubling()
    doubling.let.clear()
    batcher = Batcher(doubling, largest=LARGEST, most_in_flight=IN_FLIGHT)
    askers = []
    for number in range(10):
        askers.append(asyncio.create_task(batcher.ask(number)))
        await ticks(3)
    assert len(doubling.batches) == IN_FLIGHT
    doubling.let.set()
    assert await asyncio.gather(*askers) == [2 * number for number in range(10)]
    assert doubling.batches[IN_FLIGHT] == list(range(IN_FLIGHT, 10))


async def test_a_batch_has_its_largest_size() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling, largest=LARGEST, most_in_flight=IN_FLIGHT)
    await asyncio.gather(*(batcher.ask(1) for _ in range(LARGEST + 1)))
    assert [len(batch) for batch in doubling.batches] == [LARGEST, 1]


async def test_a_failure_is_told_to_all_of_the_batch_and_to_those_who_wait_behind_it() -> None:
    doubling = Doubling()
    doubling.let.clear()
    doubling.failure = ConnectionError("gone")
    batcher = Batcher(doubling, largest=LARGEST, most_in_flight=IN_FLIGHT)
    askers = []
    for number in range(2 * IN_FLIGHT):
        askers.append(asyncio.create_task(batcher.ask(number)))
        await ticks(3)
    doubling.let.set()
    answers = await asyncio.gather(*askers, return_exceptions=True)
    assert all(isinstance(answer, ConnectionError) for answer in answers)
    assert len(doubling.batches) == IN_FLIGHT
    doubling.failure = None
    assert await batcher.ask(4) == 8


async def test_what_arrives_in_the_pause_after_a_batch_gathers() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling, pause=lambda size: 60.0 if size == 1 else 0.0)
    await batcher.ask(0)
    gathering = [asyncio.create_task(batcher.ask(number)) for number in range(1, 6)]
    await ticks(20)
    assert doubling.batches == [[0]]
    for task in gathering:
        task.cancel()


async def test_the_pause_ends() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling, pause=lambda _: 0.001)
    assert await batcher.ask(1) == 2
    assert await batcher.ask(2) == 4


@pytest.mark.parametrize("ticks_until_it_leaves", range(6))
async def test_an_asker_that_leaves_takes_nothing_from_the_others(ticks_until_it_leaves: int) -> None:
    doubling = Doubling()
    batcher = Batcher(doubling, largest=LARGEST, most_in_flight=IN_FLIGHT)
    leaver, *others = [asyncio.create_task(batcher.ask(number)) for number in range(5)]
    await ticks(ticks_until_it_leaves)
    leaver.cancel()
    assert await asyncio.gather(*others) == [2, 4, 6, 8]


async def test_those_who_have_left_take_no_place_in_a_batch() -> None:
    doubling = Doubling()
    doubling.let.clear()
    batcher = Batcher(doubling, largest=2, most_in_flight=1)
    askers = [asyncio.create_task(batcher.ask(number)) for number in range(8)]
    await ticks(3)
    for leaver in askers[2:6]:
        leaver.cancel()
    doubling.let.set()
    await asyncio.gather(*askers, return_exceptions=True)
    assert doubling.batches == [[0, 1], [6, 7]]

"""Streams with heartbeats. An interval of a microsecond has passed whenever something is waited for."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from services.agent.heartbeats import with_heartbeats as in_groups

NEVER = 3600.0
AT_ONCE = 0.000_001


async def with_heartbeats(
    events: AsyncGenerator[int, None], *, interval_seconds: float
) -> AsyncGenerator[int | None, None]:
    """One event at a time, and None for each heartbeat."""
    async with aclosing(in_groups(events, interval_seconds=interval_seconds, most=1)) as groups:
        async for group in groups:
            assert len(group) <= 1
            yield group[0] if group else None


class Source:
    """Gives what is put into it, until it is told to end."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[int | BaseException] = asyncio.Queue()
        self.has_begun = asyncio.Event()
        self.is_open = True
        self.tasks: set[asyncio.Task[object] | None] = set()

    async def events(self) -> AsyncGenerator[int, None]:
        self.has_begun.set()
        try:
            while True:
                self.tasks.add(asyncio.current_task())
                event = await self.queue.get()
                if isinstance(event, BaseException):
                    raise event
                if event < 0:
                    return
                yield event
        finally:
            self.tasks.add(asyncio.current_task())
            self.is_open = False

    def put(self, *events: int | BaseException) -> None:
        for event in events:
            self.queue.put_nowait(event)


async def test_events_come_through_in_order_and_the_end_closes_them() -> None:
    source = Source()
    source.put(*range(100), -1)
    assert [event async for event in with_heartbeats(source.events(), interval_seconds=NEVER)] == list(range(100))
    assert not source.is_open


async def test_a_heartbeat_comes_when_nothing_happens() -> None:
    source = Source()
    async with aclosing(with_heartbeats(source.events(), interval_seconds=AT_ONCE)) as beating:
        assert [await anext(beating), await anext(beating)] == [None, None]
        source.put(1, -1)
        assert [event async for event in beating if event is not None] == [1]


async def test_no_event_is_lost_between_heartbeats() -> None:
    source = Source()

    async def feed() -> None:
        for number in range(500):
            for _ in range(number % 7):
                await asyncio.sleep(0)
            source.put(number)
        source.put(-1)

    feeding = asyncio.create_task(feed())
    seen = [event async for event in with_heartbeats(source.events(), interval_seconds=AT_ONCE)]
    await feeding
    assert [event for event in seen if event is not None] == list(range(500))
    assert None in seen


async def test_a_failure_comes_after_the_events_before_it() -> None:
    source = Source()
    source.put(1, 2, ValueError("broken"))
    events = with_heartbeats(source.events(), interval_seconds=NEVER)
    assert [await anext(events), await anext(events)] == [1, 2]
    with pytest.raises(ValueError, match="broken"):
        await anext(events)
    assert not source.is_open


async def test_a_source_that_cancels_itself_ends_the_stream_after_the_events_before_it() -> None:
    source = Source()
    source.put(1, 2, asyncio.CancelledError())
    seen: list[int] = []

    async def read() -> None:
        async with aclosing(with_heartbeats(source.events(), interval_seconds=AT_ONCE)) as beating:
            async for event in beating:
                seen.extend([event] if event else [])

    (outcome,) = await asyncio.gather(asyncio.create_task(read()), return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError)
    assert seen == [1, 2]
    assert not source.is_open


async def test_closing_stops_what_it_waits_for() -> None:
    source = Source()
    beating = with_heartbeats(source.events(), interval_seconds=AT_ONCE)
    assert await anext(beating) is None
    await beating.aclose()
    assert not source.is_open


async def test_closing_stops_a_source_that_is_ahead_of_its_reader() -> None:
    source = Source()
    source.put(*range(10))
    beating = with_heartbeats(source.events(), interval_seconds=NEVER)
    assert await anext(beating) == 0
    for _ in range(100):
        await asyncio.sleep(0)
    await beating.aclose()
    assert not source.is_open


async def test_a_source_is_never_far_ahead_of_its_reader() -> None:
    source = Source()
    source.put(*range(100))
    beating = with_heartbeats(source.events(), interval_seconds=NEVER)
    await anext(beating)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert source.queue.qsize() >= 97
    await beating.aclose()


async def test_cancelling_the_reader_stops_the_source() -> None:
    source = Source()

    async def read() -> None:
        async with aclosing(with_heartbeats(source.events(), interval_seconds=NEVER)) as beating:
            await anext(beating)

    reading = asyncio.create_task(read())
    await source.has_begun.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert not source.is_open


async def test_one_task_runs_the_source_from_its_first_event_to_its_end() -> None:
    """Timeouts and task groups that an agent holds over its events must be left by the task that entered them."""
    for cut_short in (False, True):
        source = Source()
        source.put(1, 2, 3, *([] if cut_short else [-1]))
        async with aclosing(with_heartbeats(source.events(), interval_seconds=NEVER)) as beating:
            async for event in beating:
                if cut_short and event == 3:
                    break
        assert len(source.tasks) == 1
        assert not source.is_open


async def test_closing_ends_events_that_swallow_a_cancel() -> None:
    swallowed, ended = asyncio.Event(), asyncio.Event()

    async def events() -> AsyncGenerator[int, None]:
        try:
            yield 1
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed.set()
            for number in range(100):
                yield number
        finally:
            ended.set()

    async with asyncio.timeout(10), aclosing(with_heartbeats(events(), interval_seconds=NEVER)) as beating:
        assert await anext(beating) == 1
        await asyncio.sleep(0)
    assert swallowed.is_set()
    assert ended.is_set()


async def groups_of(source: Source, *, most: int) -> list[list[int]]:
    async with aclosing(in_groups(source.events(), interval_seconds=NEVER, most=most)) as groups:
        return [list(group) async for group in groups]


async def test_what_is_there_at_the_same_time_comes_in_one_group() -> None:
    source = Source()
    source.put(*range(5), -1)
    assert await groups_of(source, most=10) == [[0, 1, 2, 3, 4]]


async def test_no_group_has_more_than_the_most() -> None:
    source = Source()
    source.put(*range(5), -1)
    assert await groups_of(source, most=2) == [[0, 1], [2, 3], [4]]


async def test_a_group_does_not_wait_for_what_is_not_there_yet() -> None:
    source = Source()
    source.put(1, 2)
    async with aclosing(in_groups(source.events(), interval_seconds=NEVER, most=10)) as groups:
        assert list(await anext(groups)) == [1, 2]
        source.put(3, -1)
        assert [list(group) async for group in groups] == [[3]]


async def test_a_failure_comes_after_the_group_before_it() -> None:
    source = Source()
    source.put(1, 2, ValueError("broken"))
    groups = in_groups(source.events(), interval_seconds=NEVER, most=10)
    assert list(await anext(groups)) == [1, 2]
    with pytest.raises(ValueError, match="broken"):
        await anext(groups)

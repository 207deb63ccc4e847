"""Waiting for a short time, of which the own event loop's lateness is no part."""

import asyncio
import time

import pytest

from services.ratelimit.patience import in_time


async def answer_after_ticks(count: int) -> str:
    for _ in range(count):
        await asyncio.sleep(0)
    return "answer"


async def silence() -> None:
    await asyncio.Event().wait()


async def test_an_answer_comes_back() -> None:
    assert await in_time(answer_after_ticks(3), seconds=5, at_most=5) == "answer"


async def test_a_failure_comes_back() -> None:
    async def failing() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await in_time(failing(), seconds=5, at_most=5)


async def test_silence_is_a_timeout_and_the_call_is_cancelled() -> None:
    ended = asyncio.Event()

    async def call() -> None:
        try:
            await silence()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        await in_time(call(), seconds=0.001, at_most=0.01)
    await ended.wait()


async def test_who_gives_up_waiting_cancels_the_call() -> None:
    ended = asyncio.Event()

    async def call() -> None:
        try:
            await silence()
        finally:
            ended.set()

    waiting = asyncio.create_task(in_time(call(), seconds=5, at_most=5))
    await answer_after_ticks(3)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await ended.wait()


async def test_an_answer_that_is_there_counts_although_the_busy_loop_reads_it_late() -> None:
    """The answer needs several rounds of the loop, each of which takes longer than the patience."""
    loop = asyncio.get_running_loop()

    def block() -> None:
        time.sleep(0.01)  # this is what a busy loop does
        if not answered.done():
            loop.call_soon(block)

    answered = asyncio.create_task(in_time(answer_after_ticks(10), seconds=0.005, at_most=60))
    loop.call_soon(block)
    assert await answered == "answer"


async def test_a_loop_that_stays_busy_ends_the_wait_all_the_same() -> None:
    loop = asyncio.get_running_loop()

    def block() -> None:
        time.sleep(0.01)  # this is what a busy loop does
        if not waiting.done():
            loop.call_soon(block)

    waiting = asyncio.create_task(in_time(silence(), seconds=0.001, at_most=0.05))
    loop.call_soon(block)
    with pytest.raises(TimeoutError):
        await waiting

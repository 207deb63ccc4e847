"""How long work beside a block goes on, and what its failure does to the block."""

import asyncio

import pytest

from meshkit.background import running


class Work:
    """Goes on for ever, and remembers how it ended."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.was_cancelled = asyncio.Event()

    async def run(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled.set()
            raise


async def fail() -> None:
    raise ValueError("lost")


async def test_work_goes_on_until_the_end_of_the_block() -> None:
    first, second = Work(), Work()
    async with running(first.run(), second.run()):
        await first.began.wait()
        await second.began.wait()
        assert not first.was_cancelled.is_set()
        assert not second.was_cancelled.is_set()
    assert first.was_cancelled.is_set()
    assert second.was_cancelled.is_set()


async def test_work_that_ends_by_itself_ends_nothing_else() -> None:
    other = Work()
    async with running(asyncio.sleep(0), other.run()):
        await other.began.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not other.was_cancelled.is_set()


async def test_work_that_fails_ends_the_block_and_the_other_work() -> None:
    other = Work()
    with pytest.raises(ExceptionGroup) as raised:
        async with running(other.run(), fail()):
            await asyncio.Event().wait()
    (error,) = raised.value.exceptions
    assert str(error) == "lost"
    assert other.was_cancelled.is_set()


async def test_a_block_that_fails_ends_the_work() -> None:
    work = Work()

    async def block() -> None:
        async with running(work.run()):
            await work.began.wait()
            await fail()

    with pytest.raises(ExceptionGroup) as raised:
        await block()
    assert raised.group_contains(ValueError, match="lost")
    assert work.was_cancelled.is_set()

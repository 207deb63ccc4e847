"""How long a message of a stream may wait for its reader."""

import asyncio

import pytest

from meshkit.errors import Reason, ShoalError
from meshkit.slow_reader import SlowReader

PATIENCE_SECONDS = 0.05


async def left_unread(*, after_seconds: float = 0) -> None:
    """A stream whose first message comes after a while, and is never taken."""
    with SlowReader(PATIENCE_SECONDS) as reader:
        await asyncio.sleep(after_seconds)
        reader.is_given()
        await asyncio.Event().wait()


async def test_a_message_that_is_not_taken_ends_the_stream_and_nothing_else() -> None:
    task = asyncio.current_task()
    with pytest.raises(ShoalError, match=r"not read for 0\.05 seconds") as caught:
        await left_unread()
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    assert task
    assert not task.cancelling()


async def test_a_stream_in_which_nothing_waits_goes_on() -> None:
    with SlowReader(PATIENCE_SECONDS) as reader:
        reader.is_given()
        reader.has_taken()
        await asyncio.sleep(3 * PATIENCE_SECONDS)


async def test_each_message_has_the_whole_time() -> None:
    loop = asyncio.get_running_loop()
    begun, before = loop.time(), PATIENCE_SECONDS / 2
    with pytest.raises(ShoalError):
        await left_unread(after_seconds=before)
    assert loop.time() - begun >= before + PATIENCE_SECONDS


async def test_who_is_cancelled_by_somebody_else_is_not_said_to_be_slow() -> None:
    stream = asyncio.create_task(left_unread())
    await asyncio.sleep(0)
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream

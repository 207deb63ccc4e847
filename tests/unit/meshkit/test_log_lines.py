"""When log lines are written, and with which others."""

import asyncio
import errno
from collections.abc import Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path
from threading import Thread

from meshkit.log_lines import LogLines


def written(lines: Sequence[object]) -> str:
    return "".join(f"{line}\n" for line in lines)


class Written(StringIO):
    """A stream that remembers what was written at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.was_flushed = asyncio.Event()

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)

    def flush(self) -> None:
        self.was_flushed.set()


async def test_lines_that_follow_soon_are_written_together() -> None:
    stream = Written()
    lines = LogLines(stream, render=written)
    lines.info("a")
    lines.debug("b")
    assert stream.writes == []
    await stream.was_flushed.wait()
    assert stream.writes == ["a\nb\n"]


async def test_what_is_told_after_a_write_is_written_too() -> None:
    stream = Written()
    lines = LogLines(stream, render=written)
    for line in ("a", "b"):
        stream.was_flushed.clear()
        lines.info(line)
        await stream.was_flushed.wait()
    assert stream.writes == ["a\n", "b\n"]


async def test_a_warning_is_written_at_once_and_after_what_was_told_before_it() -> None:
    stream = Written()
    lines = LogLines(stream, render=written)
    lines.info("a")
    lines.warning("b")
    lines.info("c")
    assert stream.writes == ["a\nb\n"]
    lines.error("d")
    lines.critical("e")
    assert stream.writes == ["a\nb\n", "c\nd\n", "e\n"]


def test_without_an_event_loop_every_line_is_written_at_once() -> None:
    stream = Written()
    lines = LogLines(stream, render=written)
    lines.info("a")
    lines.info("b")
    assert stream.writes == ["a\n", "b\n"]


def test_lines_of_a_loop_that_has_ended_are_written_with_the_next() -> None:
    stream = Written()
    lines = LogLines(stream, render=written)

    async def tell(*told: str) -> None:
        for line in told:
            lines.info(line)

    asyncio.run(tell("a"))
    lines.info("b")
    assert stream.writes == ["a\nb\n"]
    asyncio.run(tell("c"))

    async def tell_and_wait() -> None:
        stream.was_flushed.clear()
        lines.info("d")
        await stream.was_flushed.wait()

    asyncio.run(tell_and_wait())
    assert stream.writes[1:] == ["c\nd\n"]


async def test_another_thread_writes_at_once_and_with_those_that_wait() -> None:
    stream = Written()
    lines = LogLines(stream, render=written)
    tell_from_a_thread(lines, "a")
    assert stream.writes == ["a\n"]
    stream.was_flushed.clear()
    lines.info("b")
    tell_from_a_thread(lines, "c")
    assert stream.writes == ["a\n", "b\nc\n"]


def tell_from_a_thread(lines: LogLines[object], line: str) -> None:
    thread = Thread(target=lines.info, args=(line,))
    thread.start()
    thread.join()


class Interrupted(Written):
    """During its first write, another thread begins."""

    other: Thread

    def write(self, text: str) -> int:
        if self.other.ident is None:
            self.other.start()
            # It cannot end before this write has, so there is nothing better to wait for.
            self.other.join(timeout=0.05)
        return super().write(text)


def test_a_thread_waits_while_another_writes() -> None:
    stream = Interrupted()
    lines = LogLines(stream, render=written)
    stream.other = Thread(target=lines.warning, args=("b",))
    lines.warning("a")
    stream.other.join()
    assert stream.writes == ["a\n", "b\n"]


class Full(Written):
    """A stream on a disk that is full until there is room."""

    has_room = False

    def write(self, text: str) -> int:
        if not self.has_room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_lines_that_cannot_be_written_are_dropped_and_counted_and_the_next_ones_are_written() -> None:
    stream = Full()
    lines = LogLines(stream, render=written)
    lines.info("a")
    lines.error("b")
    assert lines.dropped == 2
    stream.has_room = True
    lines.info("c")
    assert (stream.writes, lines.dropped) == (["c\n"], 2)


def test_a_stream_that_fails_only_when_it_is_flushed_fails_no_caller() -> None:
    # Such a file cannot be closed either, since the stream has kept what it could not write.
    with suppress(OSError), Path("/dev/full").open("w") as stream:
        lines = LogLines(stream, render=written)
        lines.warning("a")
    assert lines.dropped == 1

"""A run of warming: what is sent, what is sent again, and where it stops."""

import errno
import io
import os
from collections.abc import Iterator

import pytest

from launcher.cache.warming.answers import Reply
from launcher.cache.warming.tasks import BadLine, Task, Wishes, read_tasks
from launcher.cache.warming.warmer import MOST_GIVEN_UP
from tests.unit.launcher.warming.front_door import KEPT, Run, answer, busy

FISH, TREES = '"fish"', '"trees"'
REFUSED = Reply(400, b'{"error": "Too long.", "reason": "TASK_TOO_LONG"}')
KEY_REFUSED = Reply(401, b'{"error": "Unknown.", "reason": "API_KEY_INVALID"}')


async def test_every_line_is_sent_once() -> None:
    run = Run(FISH, TREES, FISH, '{"task": "fish"}')
    text = await run.done()
    assert run.door.asked == [("fish", "default"), ("trees", "default")]
    assert "computed                     2" in text
    assert "the same as an earlier line  2" in text
    assert "6 tokens in, 8 out, $1.0" in text
    assert run.report.is_complete


async def test_as_many_are_sent_at_once_as_asked_for() -> None:
    run = Run(*(f'"task {number}"' for number in range(20)), at_once=5)
    await run.done()
    assert run.door.most_at_once == 5
    assert len(run.door.asked) == 20


async def test_what_is_too_old_is_computed_anew() -> None:
    old = answer("hit", age_seconds=60.0, ttl_seconds=100.0)
    run = Run(FISH, replies={"fish": [old, KEPT]})
    assert "computed  1" in await run.done()
    assert run.door.asked == [("fish", "default"), ("fish", "refresh")]


async def test_what_is_there_is_left_alone() -> None:
    run = Run(FISH, replies={"fish": [answer("hit", age_seconds=1.0, ttl_seconds=100.0)]})
    assert "already there  1" in await run.done()
    assert len(run.door.asked) == 1


async def test_a_refused_line_and_a_bad_one_do_not_stop_the_run() -> None:
    run = Run(FISH, "bad", TREES, replies={"fish": [REFUSED]})
    text = await run.done()
    assert "line 1: 400 TASK_TOO_LONG: Too long." in text
    assert "line 2: is no JSON" in text
    assert "computed  1" in text
    assert not run.report.is_complete


async def test_a_busy_front_door_is_waited_for() -> None:
    run = Run(FISH, replies={"fish": [busy(0.0), None, busy(0.001)]})
    assert "computed  1" in await run.done()
    assert run.door.tasks() == ["fish"] * 4


async def test_patience_has_an_end() -> None:
    run = Run(FISH, TREES, replies={"fish": [busy(61.0)]})
    text = await run.done()
    assert "line 1: was put off for too long: 503 BUSY: Busy." in text
    assert run.door.tasks() == ["fish", "trees"]


async def test_waits_are_added_up() -> None:
    run = Run(FISH, replies={"fish": [busy(0.004)] * 10}, patience_seconds=0.01)
    assert "put off" in await run.done()
    assert run.door.tasks() == ["fish"] * 3


async def test_after_several_that_were_put_off_in_a_row_the_rest_is_left() -> None:
    lines = [f'"task {number}"' for number in range(10)]
    run = Run(*lines, replies={f"task {number}": [None] for number in range(10)}, patience_seconds=0.0)
    text = await run.done()
    assert len(run.door.asked) == MOST_GIVEN_UP
    assert "3 of 10 lines" in text
    assert f"Ended early. {MOST_GIVEN_UP} tasks in a row were put off for too long" in text


async def test_an_answer_in_between_shows_that_the_front_door_is_there() -> None:
    off = ["0", "1", "3", "4"]
    run = Run(
        "0", *(f'"{number}"' for number in range(6)), replies={task: [None] for task in off}, patience_seconds=0.0
    )
    await run.done()
    assert run.door.tasks() == list("012345")


@pytest.mark.parametrize("at_once", [1, 2])
async def test_a_refused_key_ends_the_run_and_is_said_once(at_once: int) -> None:
    run = Run(FISH, TREES, '"stones"', replies={"fish": [KEY_REFUSED], "trees": [KEY_REFUSED]}, at_once=at_once)
    text = await run.done()
    assert text.startswith("0 of 3 lines")
    assert "Ended early. The API key was refused: 401 API_KEY_INVALID: Unknown." in text
    assert text.count("API_KEY_INVALID") == 1
    assert run.door.tasks() == ["fish", "trees"][:at_once]


async def test_a_run_that_is_stopped_sees_what_it_sent_to_its_end() -> None:
    run = Run(FISH, TREES, stop_at="fish")
    assert "1 of 2 lines" in await run.done()
    assert run.door.tasks() == ["fish"]


@pytest.mark.parametrize("at_once", [1, 4])
async def test_a_run_that_is_stopped_waits_for_no_busy_front_door(at_once: int) -> None:
    run = Run(FISH, TREES, replies={"fish": [busy(50.0)], "trees": [busy(50.0)]}, stop_at="fish", at_once=at_once)
    assert "0 of 2 lines" in await run.done()


async def test_the_next_run_goes_on_where_this_one_was_stopped() -> None:
    first = Run(FISH, TREES, '"stones"', stop_at="trees")
    await first.done()
    second = Run(FISH, TREES, '"stones"', journal=first.journal)
    assert "finished by an earlier run  2" in await second.done()
    assert second.door.tasks() == ["stones"]


async def test_what_failed_is_sent_again_and_what_cannot_be_cached_is_not() -> None:
    first = Run(FISH, TREES, replies={"fish": [REFUSED], "trees": [answer("bypass")]})
    assert "not cacheable  1" in await first.done()
    second = Run(FISH, TREES, journal=first.journal)
    await second.done()
    assert second.door.tasks() == ["fish"]


@pytest.mark.parametrize(("now", "again"), [(49.0, []), (50.0, ["fish"])])
async def test_a_finished_line_counts_for_half_of_its_time(now: float, again: list[str]) -> None:
    first = Run(FISH)
    await first.done()
    second = Run(FISH, journal=first.journal, now=now)
    await second.done()
    assert second.door.tasks() == again


class FullDisk(io.StringIO):
    """Has room for this many lines."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._lines = lines

    def write(self, text: str) -> int:
        if not self._lines:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._lines -= 1
        return super().write(text)


async def test_a_journal_that_cannot_be_written_stops_all_workers_in_order() -> None:
    run = Run(*(f'"task {number}"' for number in range(20)), journal=FullDisk(lines=2), at_once=3)
    text = await run.done()
    assert "Ended early. The journal cannot be written any further (No space left on device)" in text
    assert f"computed  {len(run.door.asked)}" in text
    assert 3 <= len(run.door.asked) < 20


async def test_a_file_that_cannot_be_read_any_further_stops_the_run_in_order() -> None:
    def lines() -> Iterator[Task | BadLine]:
        yield from read_tasks(io.BytesIO(b'"fish"\n"trees"\n'), Wishes(ttl_seconds=100))
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    run = Run(tasks=lines(), at_once=2)
    text = await run.done()
    assert "Ended early. The tasks cannot be read any further (Input/output error)." in text
    assert "computed  2" in text


async def test_a_torn_journal_loses_nothing_but_the_torn_line() -> None:
    first = Run(FISH, TREES)
    await first.done()
    torn = io.StringIO()
    torn.write(first.journal.getvalue()[:-10] + "\n\nrubbish\n" + "x y\n" + "0" * 10)
    second = Run(FISH, TREES, '"stones"', journal=torn)
    await second.done()
    assert second.door.tasks() == ["trees", "stones"]
    third = Run(FISH, TREES, '"stones"', journal=torn)
    await third.done()
    assert third.door.tasks() == []

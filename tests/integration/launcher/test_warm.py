"""`shoal cache warm` as a process, against a front door that does as the test says."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from load.measuring.ports import free_port
from tests.integration.launcher.stand_ins import until
from tests.integration.launcher.warm_process import KEY, Door, end_of, front_door, started, tasks_file, warmed

TASKS = [f"task {number}" for number in range(6)]


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with front_door() as door:
        yield door


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tasks_file(tmp_path, *TASKS)


def journal(file: Path) -> Path:
    return file.with_name(file.name + ".warmed")


async def test_a_run_sends_every_line_with_the_key_and_reports(door: Door, file: Path) -> None:
    door.open()
    ended = await warmed(door, file, "--ttl", "99", "--tags", "a, b,a")
    assert (ended.code, sorted(door.tasks()), door.keys) == (0, TASKS, {KEY})
    cache = {"mode": "default", "ttl_seconds": 99, "tags": ["a", "b"], "public": False}
    assert all(body["cache"] == cache for body in door.bodies)
    assert ended.stdout.startswith("6 of 6 lines in ")
    assert "used: 18 tokens in, 24 out, $3.000000" in ended.stdout
    assert ended.stderr.splitlines() == [f"warmed {number} of 6 lines" for number in range(1, 7)]
    assert not journal(file).exists()


async def test_a_day_is_the_time_unless_another_is_given(door: Door, file: Path) -> None:
    door.open()
    await warmed(door, file, "--refresh")
    assert {(body["cache"]["ttl_seconds"], body["cache"]["mode"]) for body in door.bodies} == {(86_400, "refresh")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_stopped_run_waits_for_what_it_sent_and_the_next_one_goes_on(
    door: Door, file: Path, number: signal.Signals
) -> None:
    process = await started(door, file, "--concurrency", "2")
    await until(lambda: len(door.bodies) == 2, "two tasks sent")
    process.send_signal(number)
    assert process.stderr is not None
    assert (await process.stderr.readline(), b"Stopping" in await process.stderr.readline()) == (b"\n", True)
    door.open()
    ended = await end_of(process)
    assert (ended.code, len(door.bodies)) == (1, 2)
    assert ended.stdout.startswith("2 of 6 lines")
    assert "Ended early. It was told to stop.\nThe same command goes on" in ended.stdout
    assert len(journal(file).read_text().splitlines()) == 2

    again = await warmed(door, file)
    assert again.code == 0
    assert "finished by an earlier run  2" in again.stdout
    assert sorted(door.tasks()) == TASKS
    assert not journal(file).exists()


async def test_a_second_signal_cuts_off_what_is_in_flight(door: Door, file: Path) -> None:
    process = await started(door, file, "--concurrency", "2")
    await until(lambda: len(door.bodies) == 2, "two tasks sent")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    await process.stderr.readuntil(b"Stopping")
    process.send_signal(signal.SIGINT)
    ended = await end_of(process)
    assert ended.code == 1
    assert "0 of 6 lines" in ended.stdout
    assert "Traceback" not in ended.stderr


async def test_a_killed_run_loses_only_what_was_in_flight(door: Door, file: Path) -> None:
    door.open(3)
    process = await started(door, file, "--concurrency", "1")
    await until(lambda: len(door.bodies) == 4, "three answers and a fourth task")
    process.kill()
    await end_of(process)
    door.open()
    again = await warmed(door, file, "--concurrency", "1")
    assert "finished by an earlier run  3" in again.stdout
    assert door.tasks() == [*TASKS[:4], *TASKS[3:]]


async def test_a_restart_sends_everything_again(door: Door, tmp_path: Path) -> None:
    door.open()
    file = tasks_file(tmp_path, "good", 7)
    assert (await warmed(door, file)).code == 1
    assert (await warmed(door, file)).code == 1
    assert door.tasks() == ["good"]
    await warmed(door, file, "--restart")
    assert door.tasks() == ["good", "good"]


async def test_two_runs_over_one_file_are_one_too_many(door: Door, file: Path) -> None:
    first = await started(door, file)
    await until(lambda: bool(door.bodies), "the first run at work")
    second = await warmed(door, file)
    assert second.code == 1
    assert second.stderr.startswith("Another run uses the journal")
    door.open()
    assert (await end_of(first)).code == 0


async def test_where_nobody_listens_the_run_says_so_at_once(door: Door, file: Path) -> None:
    nowhere = Door(f"http://127.0.0.1:{free_port()}")
    async with asyncio.timeout(30):
        ended = await warmed(nowhere, file)
    assert ended.code == 1
    assert ended.stderr == f"{nowhere.url} does not answer: Connection refused\n"
    assert not journal(file).exists()

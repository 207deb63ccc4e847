"""The supervisor over small stand-in programs: it starts, names deaths, restarts, and leaves nothing behind."""

import asyncio
import errno
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.processes.keeper import GaveUpError, Keeper
from launcher.processes.plan import Plan, StopStage
from tests.integration.launcher.stand_ins import (
    PARENT_SERVER,
    SERVER,
    STUBBORN_SERVER,
    Run,
    at_work,
    is_alive,
    process,
    running,
    step,
    until,
)

ROOT = Path(__file__).resolve().parents[3]
SUPERVISOR = """
import asyncio, pathlib, sys
from launcher.processes.plan import Plan
from tests.integration.launcher.stand_ins import Run, STUBBORN_SERVER, process
async def main():
    processes = [process("one"), process("two", program=STUBBORN_SERVER)]
    run = Run(Plan(steps=[], processes=processes), pathlib.Path(sys.argv[1]))
    work = asyncio.create_task(run.to_its_end())
    await run.ready.wait()
    print(run.pid("one"), run.pid("two"), flush=True)
    await work
asyncio.run(main())
"""
FAILS = "print('the reason why'); raise SystemExit(3)"


async def test_what_is_needed_is_ready_before_what_needs_it_starts(tmp_path: Path) -> None:
    steps = [step("prepare", program="print('prepared')", needs=["store"])]
    plan = Plan(steps=steps, processes=[process("service", needs=["prepare"]), process("store")])
    async with running(plan, tmp_path) as run:
        positions = [run.said.index(news) for news in ("store", "prepare", "service")]
        assert positions == sorted(positions)


async def test_the_table_of_processes_is_there_while_they_run(tmp_path: Path) -> None:
    async with running(Plan(steps=[], processes=[process("service")]), tmp_path) as run:
        pid = run.pid("service")
        assert is_alive(pid)
    assert not is_alive(pid)
    assert not run.home.processes_file.exists()


async def test_ctrl_c_on_the_terminal_does_not_reach_the_processes(tmp_path: Path) -> None:
    async with running(Plan(steps=[], processes=[process("service")]), tmp_path) as run:
        assert os.getsid(run.pid("service")) != os.getsid(0)


async def test_a_process_that_dies_is_named_with_its_last_words_and_started_again(tmp_path: Path) -> None:
    async with running(Plan(steps=[], processes=[process("service"), process("other")]), tmp_path) as run:
        first, other = run.pid("service"), run.pid("other")
        os.kill(first, signal.SIGKILL)
        await until(lambda: "ready again" in run.said, "the restart")
        assert "service        ended with signal SIGKILL; starting again in 0.2 s" in run.said
        assert "| I am here" in run.said
        assert run.pid("service") != first
        assert run.pid("other") == other


async def test_a_process_that_never_gets_ready_stops_the_mesh(tmp_path: Path) -> None:
    run = Run(Plan(steps=[], processes=[process("broken", program=FAILS), process("sound")]), tmp_path)
    with pytest.raises(GaveUpError):
        await run.to_its_end()
    assert run.said.count("broken         ended with exit code 3") == 4
    assert "| the reason why" in run.said
    assert "it never got ready and is given up" in run.said
    assert not run.ready.is_set()
    assert not run.home.processes_file.exists()


async def test_who_serves_already_is_let_finish_when_another_never_gets_ready(tmp_path: Path) -> None:
    sound = process("sound")
    run = Run(Plan(steps=[], processes=[sound, process("broken", program=FAILS, needs=["sound"])]), tmp_path)
    served: list[bool] = []

    async def finish() -> None:
        served.append(is_alive(run.pid("sound")))

    with pytest.raises(GaveUpError):
        await run.supervisor.run(until=run.stop, when_ready=run.ready.set, before_stop=finish)
    assert served == [True]
    assert not run.ready.is_set()


async def test_last_words_are_those_of_the_last_life(tmp_path: Path) -> None:
    run = Run(Plan(steps=[], processes=[process("broken", program=FAILS)]), tmp_path)
    run.home.log_of("broken").write_text("an old story\n")
    with pytest.raises(GaveUpError):
        await run.to_its_end()
    assert "an old story" not in run.said
    assert run.log("broken") == "an old story\n" + 4 * "the reason why\n"


async def test_a_step_that_fails_stops_the_mesh(tmp_path: Path) -> None:
    plan = Plan(steps=[step("migrate", program=FAILS)], processes=[process("service", needs=["migrate"])])
    run = Run(plan, tmp_path)
    with pytest.raises(GaveUpError):
        await run.to_its_end()
    assert "migrate        failed with exit code 3" in run.said
    assert "| the reason why" in run.said
    assert not run.home.log_of("service").exists()


async def test_a_dispensable_step_that_fails_is_named_and_passed_over(tmp_path: Path) -> None:
    plan = Plan(steps=[step("demo-key", program=FAILS, dispensable=True)], processes=[process("service")])
    async with running(plan, tmp_path) as run:
        assert "demo-key       failed with exit code 3" in run.said


async def test_a_program_that_is_not_there_stops_the_mesh(tmp_path: Path) -> None:
    gone = replace(process("gone"), command=(str(tmp_path / "no-such-program"),))
    run = Run(Plan(steps=[], processes=[process("service"), gone]), tmp_path)
    with pytest.raises(GaveUpError):
        await run.to_its_end()
    assert "gone           cannot be started" in run.said


async def test_a_stop_does_not_wait_for_ever_for_a_stubborn_process(tmp_path: Path) -> None:
    stubborn = process("stubborn", program=STUBBORN_SERVER, stage=StopStage.DOOR)
    async with running(Plan(steps=[], processes=[stubborn]), tmp_path) as run:
        pid = run.pid("stubborn")
    assert "I stay" in run.log("stubborn")
    assert not is_alive(pid)


async def test_stages_stop_one_after_the_other(tmp_path: Path) -> None:
    ends = tmp_path / "ends"

    def program(name: str) -> str:
        on_exit = f"atexit.register(lambda: open({str(ends)!r}, 'a').write('{name} '))\n"
        on_signals = (
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit())\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        )
        return "import atexit, signal, sys\n" + on_signals + on_exit + SERVER

    processes = [process(stage.name, program=program(stage.name), stage=stage) for stage in reversed(StopStage)]
    async with running(Plan(steps=[], processes=processes), tmp_path):
        pass
    assert ends.read_text().split() == ["DOOR", "SERVICES", "BACKING"]


async def test_a_second_signal_kills_what_is_left(tmp_path: Path) -> None:
    stubborn = process("stubborn", program=STUBBORN_SERVER, stage=StopStage.SERVICES)
    async with running(Plan(steps=[], processes=[stubborn]), tmp_path) as run:
        pid = run.pid("stubborn")
        run.stop.set()
        await until(lambda: "I stay" in run.log("stubborn"), "the first signal")
        run.supervisor.kill()
        # Far less than a stubborn service is given otherwise.
        async with asyncio.timeout(StopStage.SERVICES.patience_seconds / 2):
            await until(lambda: not is_alive(pid), "the end")


async def test_what_a_process_started_ends_with_it(tmp_path: Path) -> None:
    async with running(Plan(steps=[], processes=[process("parent", program=PARENT_SERVER)]), tmp_path) as run:
        grandchild = int(run.log("parent").split()[1])
        assert is_alive(grandchild)
    await until(lambda: not is_alive(grandchild), "the end of the grandchild")


async def test_a_supervisor_that_is_killed_takes_its_processes_along(tmp_path: Path) -> None:
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISOR, str(tmp_path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert supervisor.stdout is not None
    one, two = [int(pid) for pid in (await supervisor.stdout.readline()).split()]
    assert is_alive(one)
    assert is_alive(two)
    supervisor.kill()
    await supervisor.wait()
    await until(lambda: not is_alive(one) and not is_alive(two), "the end of its processes")


async def test_a_program_that_is_away_for_a_moment_is_started_when_it_is_back(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.symlink_to(sys.executable)
    away = process("service")
    moved = replace(away, command=(str(program), *away.command[1:]))
    async with running(Plan(steps=[], processes=[moved]), tmp_path) as run:
        program.unlink()
        os.kill(run.pid("service"), signal.SIGKILL)
        await until(lambda: "cannot be started" in run.said, "a start in vain")
        program.symlink_to(sys.executable)
        await until(lambda: "ready again" in run.said, "the restart")


async def test_a_change_that_cannot_be_written_down_stops_nothing(tmp_path: Path) -> None:
    run = Run(Plan(steps=[], processes=[process("service")]), tmp_path)

    def full(keeper: Keeper) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run.supervisor.listeners.append(full)
    async with at_work(run):
        assert "that it is ready could not be written" in run.said

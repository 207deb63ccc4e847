"""Processes that join a running mesh and leave it again, over small stand-in programs."""

import asyncio
import io
import os
import signal
from pathlib import Path

import pytest

from launcher.console import Console
from launcher.processes.child import Child
from launcher.processes.keeper import GaveUpError, Keeper
from launcher.processes.plan import Plan, Process
from tests.integration.launcher.stand_ins import STUBBORN_SERVER, is_alive, process, running, until

FAILS = "print('the reason why'); raise SystemExit(3)"
NEVER_READY = "import time; print('I am here', flush=True); time.sleep(1000)"
PATIENCE_SECONDS = 30


def plan() -> Plan:
    return Plan(steps=[], processes=[process("first")])


async def test_a_process_is_ready_when_it_has_been_added(tmp_path: Path) -> None:
    async with running(plan(), tmp_path) as run:
        keeper = await run.supervisor.add(process("second"))
        assert keeper.was_ready.is_set()
        assert keeper.pid == run.pid("second")
        assert set(run.supervisor.keepers) == {"first", "second"}


async def test_an_added_process_that_dies_is_started_again(tmp_path: Path) -> None:
    async with running(plan(), tmp_path) as run:
        keeper = await run.supervisor.add(process("second"))
        killed = run.pid("second")
        os.kill(killed, signal.SIGKILL)
        await until(lambda: "second         ready again" in run.said, "the restart")
        assert (keeper.restarts, keeper.pid == killed) == (1, False)


async def test_a_process_that_does_not_get_ready_is_gone_again_and_the_mesh_goes_on(tmp_path: Path) -> None:
    async with running(plan(), tmp_path) as run:
        with pytest.raises(GaveUpError):
            await run.supervisor.add(process("broken", program=FAILS))
        assert "it never got ready and is given up" in run.said
        assert set(run.supervisor.keepers) == {"first"}
        with pytest.raises(KeyError):
            run.pid("broken")
        assert is_alive(run.pid("first"))
        assert not run.stop.is_set()


async def test_what_was_retired_has_ended_and_does_not_come_back(tmp_path: Path) -> None:
    async with running(plan(), tmp_path) as run:
        await run.supervisor.add(process("second"))
        for keeper in list(run.supervisor.keepers.values()):
            pid = run.pid(keeper.process.name)
            await run.supervisor.retire(keeper, patience_seconds=PATIENCE_SECONDS)
            assert not is_alive(pid)
        assert not run.supervisor.keepers
        assert "starting again" not in run.said


async def test_a_stubborn_process_is_killed_when_patience_is_over(tmp_path: Path) -> None:
    async with running(plan(), tmp_path) as run:
        keeper = await run.supervisor.add(process("stubborn", program=STUBBORN_SERVER))
        pid = run.pid("stubborn")
        await run.supervisor.retire(keeper, patience_seconds=0.5)
        assert "I stay" in run.log("stubborn")
        assert not is_alive(pid)


async def test_a_process_that_waits_to_be_started_again_can_be_retired(tmp_path: Path) -> None:
    async with running(plan(), tmp_path) as run:
        keeper = run.supervisor.keepers["first"]
        os.kill(run.pid("first"), signal.SIGKILL)
        await until(lambda: keeper.pid is None, "the death")
        await run.supervisor.retire(keeper, patience_seconds=PATIENCE_SECONDS)
        assert "ready again" not in run.said


async def test_who_gives_up_waiting_for_a_process_leaves_none_behind(tmp_path: Path) -> None:
    async with running(plan(), tmp_path) as run:
        adding = asyncio.create_task(run.supervisor.add(process("slow", program=NEVER_READY)))
        await until(lambda: run.home.log_of("slow").exists() and "I am here" in run.log("slow"), "the start")
        pid = run.pid("slow")
        await cancelled(adding)
        assert not is_alive(pid)
        assert set(run.supervisor.keepers) == {"first"}


async def test_a_process_that_is_let_go_while_the_system_starts_it_ends(tmp_path: Path) -> None:
    asked, gate = asyncio.Event(), asyncio.Event()

    async def start(slow: Process) -> Child:
        asked.set()
        await gate.wait()
        return await Child.start(slow.command, environment={}, log=tmp_path / "log")

    slow = process("slow", program=NEVER_READY)
    keeper = Keeper(slow, start=start, console=Console(io.StringIO()), changed=lambda keeper: None)
    life = asyncio.create_task(keeper.run())
    await asked.wait()
    ending = asyncio.create_task(keeper.end(patience_seconds=0))
    # Longer than its patience: it has found nothing to end.
    await asyncio.wait({ending}, timeout=0.05)
    gate.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await ending
        await life


async def cancelled(work: asyncio.Task[object]) -> None:
    work.cancel()
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(asyncio.CancelledError):
            await work


async def test_the_end_of_the_mesh_is_the_end_of_what_was_added(tmp_path: Path) -> None:
    async with running(plan(), tmp_path) as run:
        await run.supervisor.add(process("second"))
        adding = asyncio.create_task(run.supervisor.add(process("slow", program=NEVER_READY)))
        await until(lambda: run.home.log_of("slow").exists() and "I am here" in run.log("slow"), "the start")
        pids = [run.pid(name) for name in ("first", "second", "slow")]
    assert not any(map(is_alive, pids))
    with pytest.raises(asyncio.CancelledError):
        await adding

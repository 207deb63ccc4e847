"""A process that takes over the name of another, and services that are cut before the stop, over small stand-ins."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.processes.keeper import GaveUpError
from launcher.processes.plan import Plan
from tests.integration.launcher.stand_ins import SERVER, STUBBORN_SERVER, Run, is_alive, process, running, until

FAILS = "raise SystemExit(3)"
PROGRAMS = {"agent-1": SERVER, "agent-2": SERVER, "agent-3": STUBBORN_SERVER}
SOON = 0.2
NEVER = 600


def plan() -> Plan:
    return Plan(steps=[], processes=[process("door"), process("other")])


async def handed_over(run: Run, *, patience_seconds: float) -> tuple[int, int]:
    """The ids of the old one and of the new one."""
    old = run.pid("door")
    await run.supervisor.hand_over("door", process("door"), aside="door-old", patience_seconds=patience_seconds)
    return old, run.pid("door")


async def test_the_old_one_stays_under_another_name_until_it_ends_and_is_not_started_again(tmp_path: Path) -> None:
    async with running(plan(), tmp_path) as run:
        old, new = await handed_over(run, patience_seconds=NEVER)
        assert (run.pid("door-old"), set(run.supervisor.keepers)) == (old, {"door", "door-old", "other"})
        assert run.supervisor.keepers["door-old"].is_leaving
        os.kill(old, signal.SIGKILL)
        await until(lambda: set(run.supervisor.keepers) == {"door", "other"}, "its end")
        assert is_alive(new)


async def test_an_old_one_that_nobody_ends_is_killed_when_its_time_is_over(tmp_path: Path) -> None:
    async with running(plan(), tmp_path) as run:
        old, new = await handed_over(run, patience_seconds=SOON)
        await until(lambda: not is_alive(old), "its end")
        assert is_alive(new)


async def test_the_end_of_the_mesh_does_not_wait_for_the_old_one(tmp_path: Path) -> None:
    async with running(plan(), tmp_path) as run:
        both = await handed_over(run, patience_seconds=NEVER)
    assert not any(map(is_alive, both))


async def test_a_new_one_that_dies_at_its_start_leaves_all_as_it_was(tmp_path: Path) -> None:
    async with running(plan(), tmp_path) as run:
        old = run.pid("door")
        with pytest.raises(GaveUpError):
            await run.supervisor.hand_over(
                "door", process("door", program=FAILS), aside="door-old", patience_seconds=SOON
            )
        assert (run.pid("door"), set(run.supervisor.keepers)) == (old, {"door", "other"})
        assert not run.supervisor.keepers["door"].is_leaving
        os.kill(old, signal.SIGKILL)
        await until(lambda: "ready again" in run.said, "its restart")


async def test_what_starts_again_after_the_new_one_is_the_process_that_was_planned(tmp_path: Path) -> None:
    async with running(plan(), tmp_path) as run:
        planned = run.supervisor.keepers["door"].process
        old, new = await handed_over(run, patience_seconds=NEVER)
        os.kill(old, signal.SIGKILL)
        os.kill(new, signal.SIGKILL)
        await until(lambda: "ready again" in run.said, "the restart")
        assert run.supervisor.keepers["door"].process == planned


async def test_what_is_cut_before_the_stop_ends_alone_and_does_not_come_back(tmp_path: Path) -> None:
    agents = [replace(process(name, program=program), service="agent") for name, program in PROGRAMS.items()]
    run = Run(Plan(steps=[], processes=[agents[0], process("gateway")]), tmp_path)
    alive: dict[str, bool] = {}

    async def cut() -> None:
        pids = {name: run.pid(name) for name in run.supervisor.keepers}
        await run.supervisor.cut("agent")
        alive.update({name: is_alive(pid) for name, pid in pids.items()})

    work = asyncio.create_task(run.supervisor.run(until=run.stop, when_ready=run.ready.set, before_stop=cut))
    await run.ready.wait()
    for agent in agents[1:]:
        await run.supervisor.add(agent)
    run.stop.set()
    await work
    assert alive == {"agent-1": False, "agent-2": False, "agent-3": False, "gateway": True}
    assert "starting again" not in run.said

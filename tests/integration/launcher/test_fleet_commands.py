"""The commands `shoal ps`, `shoal scale` and `shoal restart`, as processes that speak to a scripted fleet."""

import asyncio
import json
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from launcher.control.fleet import FleetError
from launcher.control.server import listening
from launcher.home import Home
from launcher.processes import binaries
from tests.integration.launcher.scripted_fleet import ScriptedFleet
from tests.integration.launcher.stand_ins import until


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[ScriptedFleet]:
    """One that listens in the test's own folder."""
    scripted = ScriptedFleet()
    async with listening(Home(tmp_path).control_socket, fleet=scripted, view=scripted):
        yield scripted


async def started(home: Path, *arguments: str) -> Process:
    environment = {**os.environ, "SHOAL_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    return await asyncio.create_subprocess_exec(binaries.shoal(), *arguments, env=environment, stdout=PIPE, stderr=PIPE)


async def shoal(home: Path, *arguments: str) -> tuple[int | None, str, str]:
    """Runs a command to its end: exit code, output, errors."""
    command = await started(home, *arguments)
    output, errors = await command.communicate()
    return command.returncode, output.decode(), errors.decode()


@pytest.mark.parametrize("service", ["agent", "gateway", "cache"])
async def test_a_service_is_scaled(fleet: ScriptedFleet, tmp_path: Path, service: str) -> None:
    what = f"scale {service} 2"
    assert await shoal(tmp_path, "scale", service, "2") == (0, f"{what}: begun\n{what}: half-way\n", "")
    assert fleet.done == [("scale", service, "2")]


@pytest.mark.parametrize("service", ["agent", "envoy"])
async def test_a_service_is_restarted(fleet: ScriptedFleet, tmp_path: Path, service: str) -> None:
    code, output, _ = await shoal(tmp_path, "restart", service)
    assert (code, output) == (0, f"restart {service}: begun\nrestart {service}: half-way\n")
    assert fleet.done == [("restart", service)]


@pytest.mark.parametrize(
    "arguments", [["scale", "agent", "0"], ["scale", "agent", "many"], ["scale", "model", "2"], ["scale", "agent"],
                  ["restart", "valkey"], ["restart"], ["ps", "agent"]], ids=" ".join,
)  # fmt: skip
async def test_bad_usage_changes_nothing(fleet: ScriptedFleet, tmp_path: Path, arguments: list[str]) -> None:
    code, _, errors = await shoal(tmp_path, *arguments)
    assert code == 2
    assert "Usage:" in errors
    assert fleet.begun == []


async def test_a_refusal_is_told_and_is_exit_code_1(fleet: ScriptedFleet, tmp_path: Path) -> None:
    fleet.failure = FleetError("There can be 1 to 20 of agent, not 21.")
    code, _, errors = await shoal(tmp_path, "scale", "agent", "21")
    assert (code, errors) == (1, "There can be 1 to 20 of agent, not 21.\n")


async def test_ctrl_c_ends_the_command_and_not_the_change(fleet: ScriptedFleet, tmp_path: Path) -> None:
    fleet.may_go_on.clear()
    command = await started(tmp_path, "restart", "agent")
    assert command.stdout
    assert await command.stdout.readline() == b"restart agent: begun\n"
    command.send_signal(signal.SIGINT)
    _, errors = await command.communicate()
    assert command.returncode == 1
    assert "This goes on in the mesh without the command" in errors.decode()
    fleet.may_go_on.set()
    await until(lambda: bool(fleet.done), "the end of the change")


async def test_the_processes_are_shown_as_a_table_or_as_json(fleet: ScriptedFleet, tmp_path: Path) -> None:
    code, table, _ = await shoal(tmp_path, "ps")
    assert code == 0
    assert table.splitlines()[0].split()[:5] == ["name", "pid", "state", "envoy", "load"]
    assert "12+0/128" in table
    code, output, _ = await shoal(tmp_path, "ps", "--json")
    assert code == 0
    assert [process["name"] for process in json.loads(output)] == ["agent-1"]


@pytest.mark.parametrize("arguments", [["ps"], ["scale", "agent", "2"], ["restart", "agent"]], ids=" ".join)
async def test_without_a_mesh_a_command_says_how_to_start_one(tmp_path: Path, arguments: list[str]) -> None:
    code, _, errors = await shoal(tmp_path, *arguments)
    assert (code, errors) == (
        1,
        f"No mesh runs in {tmp_path}, or it is stopping; start it with `make run` or `shoal up`.\n",
    )

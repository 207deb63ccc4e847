"""The control socket: how a command speaks to the running mesh."""

import asyncio
import logging
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from launcher.control import client
from launcher.control.client import ControlError
from launcher.control.fleet import FleetError
from launcher.control.messages import Done, Failed, Progress, Reply, Request, Restart, Scale, line_of, reply_in
from launcher.control.server import listening
from launcher.home import Home
from tests.integration.launcher.scripted_fleet import AGENT, ScriptedFleet
from tests.integration.launcher.stand_ins import until

SCALE = Scale(service="agent", replicas=5)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
async def fleet(home: Home) -> AsyncIterator[ScriptedFleet]:
    """One that listens in the home."""
    scripted = ScriptedFleet()
    async with listening(home.control_socket, fleet=scripted, view=scripted):
        yield scripted


async def changed(home: Home, request: Request) -> list[str]:
    """The progress of a change, as the command hears it."""
    said: list[str] = []
    await asyncio.to_thread(client.change, home, request, said.append)
    return said


@asynccontextmanager
async def connected(home: Home) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_unix_connection(home.control_socket)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def answers(home: Home, line: bytes) -> list[Reply]:
    async with connected(home) as (reader, writer):
        writer.write(line)
        return [reply_in(line) async for line in reader]


async def test_a_change_is_made_and_its_progress_told(home: Home, fleet: ScriptedFleet) -> None:
    assert await changed(home, SCALE) == ["scale agent 5: begun", "scale agent 5: half-way"]
    assert await changed(home, Restart(service="envoy")) == ["restart envoy: begun", "restart envoy: half-way"]
    assert fleet.done == [("scale", "agent", "5"), ("restart", "envoy")]


async def test_progress_is_told_as_it_comes(home: Home, fleet: ScriptedFleet) -> None:
    fleet.may_go_on.clear()
    async with connected(home) as (reader, writer):
        writer.write(line_of(SCALE))
        assert reply_in(await reader.readline()) == Progress(line="scale agent 5: begun")
        assert fleet.done == []
        fleet.may_go_on.set()
        assert reply_in(await reader.readline()) == Progress(line="scale agent 5: half-way")
        assert reply_in(await reader.readline()) == Done()
        assert await reader.read() == b""


async def test_the_processes_are_told(home: Home, fleet: ScriptedFleet) -> None:
    assert await asyncio.to_thread(client.processes, home) == (AGENT,)


async def test_processes_can_be_looked_at_while_a_change_goes_on(home: Home, fleet: ScriptedFleet) -> None:
    fleet.may_go_on.clear()
    async with connected(home) as (reader, writer):
        writer.write(line_of(SCALE))
        await reader.readline()
        assert await asyncio.to_thread(client.processes, home) == (AGENT,)


async def test_a_refusal_reaches_the_command_as_it_is(home: Home, fleet: ScriptedFleet) -> None:
    fleet.failure = FleetError("There can be 1 to 20 of agent, not 21.")
    with pytest.raises(ControlError, match="There can be 1 to 20 of agent, not 21"):
        await changed(home, SCALE)


async def test_a_fault_of_the_mesh_is_logged_and_told_without_its_details(
    home: Home, fleet: ScriptedFleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.failure = KeyError("agent-9")
    with pytest.raises(ControlError, match="fault of its own") as told:
        await changed(home, SCALE)
    assert "agent-9" not in str(told.value)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info
    fleet.failure = None
    assert len(await changed(home, SCALE)) == 2


async def test_a_client_that_goes_away_does_not_stop_what_it_asked_for(home: Home, fleet: ScriptedFleet) -> None:
    fleet.may_go_on.clear()
    async with connected(home) as (_, writer):
        writer.write(line_of(SCALE))
        await until(lambda: bool(fleet.begun), "the change")
    fleet.may_go_on.set()
    await until(lambda: bool(fleet.done), "the end of the change")
    assert fleet.cut_short == []


@pytest.mark.parametrize(
    "line",
    [b"\n", b"{}\n", b"scale agent 5\n", b"\xff\xfe\n", b'{"type":"scale","service":"agent"}\n',
     b'{"type":"scale","service":"agent","replicas":"many"}\n',
     b'{"type":"stop"}\n', b"[" * 100_000 + b"\n", b"x" * 100_000],
    ids=lambda line: line[:20],
)  # fmt: skip
async def test_what_is_no_request_is_answered_and_harms_nobody(home: Home, fleet: ScriptedFleet, line: bytes) -> None:
    [answer] = await answers(home, line)
    assert isinstance(answer, Failed)
    assert "does not understand" in answer.message
    assert fleet.begun == []
    assert len(await changed(home, SCALE)) == 2


async def test_a_client_that_says_nothing_harms_nobody(home: Home, fleet: ScriptedFleet) -> None:
    async with connected(home):
        pass
    async with connected(home):
        assert len(await changed(home, SCALE)) == 2


async def test_the_end_of_the_mesh_cuts_a_change_short_and_the_command_is_told(home: Home) -> None:
    fleet = ScriptedFleet()
    fleet.may_go_on.clear()
    async with listening(home.control_socket, fleet=fleet, view=fleet):
        command = asyncio.create_task(changed(home, SCALE))
        await until(lambda: bool(fleet.begun), "the change")
    with pytest.raises(ControlError, match="stopped before this was done"):
        await command
    assert fleet.cut_short == [("scale", "agent", "5")]
    assert list(home.folder.iterdir()) == []


async def test_only_its_owner_can_use_the_socket(home: Home, fleet: ScriptedFleet) -> None:
    assert stat.S_IMODE(home.control_socket.stat().st_mode) == 0o600


async def test_a_socket_that_another_run_left_behind_is_replaced(home: Home) -> None:
    for path in (home.control_socket, home.folder / ".control"):
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(str(path))
    async with listening(home.control_socket, fleet=ScriptedFleet(), view=ScriptedFleet()):
        assert len(await changed(home, SCALE)) == 2


async def test_a_home_may_be_deeper_than_a_socket_address_is_long(tmp_path: Path) -> None:
    home = Home(tmp_path.joinpath(*["a-folder-with-a-long-name"] * 8))
    home.folder.mkdir(parents=True)
    assert len(str(home.control_socket)) > 200
    async with listening(home.control_socket, fleet=ScriptedFleet(), view=ScriptedFleet()):
        assert len(await changed(home, SCALE)) == 2
    assert list(home.folder.iterdir()) == []


@pytest.mark.parametrize("depth", [1, 8])
@pytest.mark.parametrize("is_there", [False, True], ids=["no folder", "an empty folder"])
async def test_without_a_mesh_the_command_says_how_to_start_one(tmp_path: Path, depth: int, is_there: bool) -> None:
    home = Home(tmp_path.joinpath(*["a-folder-with-a-long-name"] * depth))
    if is_there:
        home.folder.mkdir(parents=True)
    with pytest.raises(ControlError) as told:
        await changed(home, SCALE)
    assert (
        str(told.value) == f"No mesh runs in {home.folder}, or it is stopping; start it with `make run` or `shoal up`."
    )


async def test_the_socket_of_a_mesh_that_is_gone_is_no_mesh(home: Home) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(home.control_socket))
    with pytest.raises(ControlError, match="No mesh runs in"):
        await changed(home, SCALE)


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n", b'{"type":"news"}\n'])
async def test_a_mesh_of_another_version_is_named_as_such(home: Home, reply: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(reply)
        writer.close()

    async with await asyncio.start_unix_server(answer, path=home.control_socket):
        with pytest.raises(ControlError, match="of another version"):
            await changed(home, SCALE)

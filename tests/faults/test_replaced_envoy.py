"""An Envoy that is replaced while everybody uses it, and one whose replacement goes wrong."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from launcher.envoy_life import EnvoyLifeError, replaced
from tests.faults.waiting import until
from tests.integration.envoy_lives import Envoys, replaceable_door
from tests.integration.front_door import FrontDoor, call, get, held_streams, method

EXECUTE = "/shoal.agent.v1.AgentService/Execute"
STREAM = "/shoal.agent.v1.AgentService/ExecuteStream"
PAUSE_SECONDS = 0.01


@dataclass
class Traffic:
    """What became of calls that are made all the time."""

    answered: int = 0
    failures: list[str] = field(default_factory=list)


@asynccontextmanager
async def traffic(door: FrontDoor) -> AsyncIterator[Traffic]:
    """gRPC calls at the front door and inside, HTTP/1.1 on connections that are kept and on new ones."""
    seen = Traffic()
    fresh = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=fresh) as once:
        ways: list[Callable[[], Awaitable[object]]] = [
            lambda: call(door.front, EXECUTE),
            lambda: call(door.inner, EXECUTE),
            lambda: get(door, "/api/v1/task"),
            lambda: _fetched(once, f"{door.url}/api/v1/task"),
        ]
        callers = [asyncio.create_task(_again_and_again(way, seen)) for way in ways]
        try:
            yield seen
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)


async def _again_and_again(way: Callable[[], Awaitable[object]], seen: Traffic) -> None:
    while True:
        try:
            await way()
            seen.answered += 1
        except Exception as error:
            seen.failures.append(repr(error))
        await asyncio.sleep(PAUSE_SECONDS)


async def _fetched(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(url, raise_for_status=True) as reply:
        await reply.read()


def replacement(envoys: Envoys) -> "asyncio.Task[None]":
    return asyncio.create_task(replaced(envoys.lives, envoys.admin, start=envoys.start, say=print))


async def until_taken_over(envoys: Envoys, epoch: int) -> None:
    async def taken_over() -> bool:
        try:
            server = await envoys.admin.server()
        except (OSError, EOFError):
            return False  # between the two nobody answers for a moment
        return server.epoch == epoch and await envoys.admin.stat("server.parent_connections") > 0

    await until(taken_over, "the takeover")


async def has_connections(envoys: Envoys, count: int) -> bool:
    """Whether the old one has so many."""
    return await envoys.admin.stat("server.parent_connections") == count


async def test_a_replaced_envoy_breaks_no_stream_and_refuses_no_call(tmp_path: Path) -> None:
    async with replaceable_door(tmp_path) as (door, envoys), traffic(door) as seen:
        async with (
            held_streams(door.front, STREAM, 1) as [(_, outer)],
            held_streams(door.inner, STREAM, 1) as [(_, inner)],
        ):
            work = replacement(envoys)
            await until_taken_over(envoys, epoch=1)
            with pytest.raises(EnvoyLifeError, match="connections to finish"):
                await replaced(envoys.lives, envoys.admin, start=envoys.start, say=print)
            await until(lambda: has_connections(envoys, 2), "the move of everybody but the streams")
            for agent in door.agents:
                agent.released.set()
            assert [await outer.read(), await inner.read()] == [b"released", b"released"]
        await work
        old, new = envoys.processes
        assert old.returncode is None, "the new one ends the old one, and nobody else may"
        assert await old.wait() == 0
        assert new.returncode is None
    assert (seen.failures, seen.answered > 1000) == ([], True)


async def test_an_envoy_whose_predecessor_is_killed_dies_of_it_and_a_fresh_one_serves(tmp_path: Path) -> None:
    async with replaceable_door(tmp_path) as (door, envoys), held_streams(door.front, STREAM, 1):
        work = replacement(envoys)
        await until_taken_over(envoys, epoch=1)
        old, new = envoys.processes
        old.kill()
        # It looks for the other one until it gives up.
        assert await new.wait() == -signal.SIGABRT
        with pytest.raises((OSError, EOFError)):
            await work
        await envoys.start_first()
        assert (await get(door, "/api/v1/task"))[0] == 200


async def test_clients_find_a_fresh_envoy_after_one_was_killed(tmp_path: Path) -> None:
    async with replaceable_door(tmp_path) as (door, envoys):
        assert await call(door.inner, EXECUTE)
        envoys.processes[0].kill()
        await envoys.processes[0].wait()
        await envoys.start_first()
        assert (await get(door, "/api/v1/task"))[0] == 200
        assert await method(door.inner, EXECUTE)(b"", wait_for_ready=True)

"""Clients that leave at any moment: the model is stopped, nothing is left behind, and no answer goes astray."""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import aiohttp
import grpc
import httpx
import pytest

from tests.backends import wait_until
from tests.faults.bystanders import BystandersOf
from tests.faults.callers import Caller, caller_of
from tests.faults.footprint import MIB, memory, open_files
from tests.mesh import Mesh
from tests.simulated_model import Server

CANCELS = int(os.environ.get("FAULTS_CANCELS", "2000"))
WARM_UP = 400
CLIENTS = 8
TURN_SECONDS = 0.12
"""About as long as a turn takes: a thought, ten tokens, the end."""
PACE = "[[first_token=0.03]] [[tokens=10]] [[tokens_per_second=200]]"
STAYS = 10
"""One in so many stays to the end."""
GROWTH = 16 * MIB
"""A turn that is left behind with its tasks weighs 20 KB and more: 2,000 of them are 40 MB. grpcio itself leaks
0.35 KB for each cancelled stream, and an allocator keeps a few MB."""
STOP_SECONDS = 0.1
TRIES = 20
IDLE_SECONDS = 90
"""Connections without work are closed within that."""


@pytest.fixture(scope="module")
def key(mesh: Mesh) -> str:
    return mesh.create_key(tenant="leaver", tier="bench")


@pytest.fixture
async def caller(mesh: Mesh, key: str) -> AsyncIterator[Caller]:
    async with caller_of(mesh, key) as caller:
        yield caller


async def left_or_answered(caller: Caller, word: str, session_id: str, random: Random, *, stays: bool) -> str | None:
    """The answer, or None for a caller that left after a while, or was turned away."""
    surface = random.choice(list(caller.surfaces.values()))
    patience = None if stays else random.uniform(0, TURN_SECONDS)
    try:
        async with asyncio.timeout(patience):
            return await surface(f"{word} {PACE}", session_id)
    except TimeoutError:
        return None
    except (aiohttp.ClientResponseError, grpc.aio.AioRpcError) as error:
        if not is_refusal(error):
            raise
        return None


def is_refusal(error: aiohttp.ClientResponseError | grpc.aio.AioRpcError) -> bool:
    """With both cores busy, the limiter does not always answer in time."""
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status == 503
    return error.code() is grpc.StatusCode.UNAVAILABLE


async def leave_often(caller: Caller, number: int, times: int) -> int:
    """One client after the other, of which most leave. Returns how many whole answers came; each must be of its own
    words."""
    random, whole = Random(number), 0  # noqa: S311 - no secret
    for count in range(times):
        word = f"client{number}turn{count}"
        session_id = f"leaver-{number}" if count % 4 == 0 else ""
        answer = await left_or_answered(caller, word, session_id, random, stays=count % STAYS == 0)
        if answer is not None:
            assert set(answer.split()) == {word}
            whole += 1
    return whole


async def many_leave(caller: Caller, times: int) -> int:
    return sum(await asyncio.gather(*(leave_often(caller, number, times // CLIENTS) for number in range(CLIENTS))))


def own_words(messages: list[dict[str, Any]], number: int) -> bool:
    """Whether each turn of a session is this client's, with the answer that belongs to it."""
    turns = list(zip(messages[::2], messages[1::2], strict=True))
    return all(
        asked["content"].startswith(f"client{number}turn")
        and set(answered["content"].split()) == {asked["content"].split()[0]}
        for asked, answered in turns
    )


async def test_a_model_is_stopped_as_soon_as_its_client_leaves(caller: Caller, simulated: Server) -> None:
    took = []
    for surface in list(caller.surfaces.values()) * (TRIES // 4):
        await simulated.calls_reach(concurrent=0)
        asking = asyncio.create_task(surface("Wait. [[hang_after=3]]", ""))
        await simulated.calls_reach(concurrent=1)
        left = time.perf_counter()
        asking.cancel()
        await simulated.calls_reach(concurrent=0)
        took.append(time.perf_counter() - left)
    assert statistics.median(took) <= STOP_SECONDS, took


async def test_clients_that_leave_at_any_moment_leave_nothing_behind(
    caller: Caller, simulated: Server, mesh: Mesh, bystanders: BystandersOf
) -> None:
    await many_leave(caller, WARM_UP)
    await simulated.calls_reach(concurrent=0, waiting=0)
    files, resident = open_files(mesh), memory(mesh)
    async with bystanders(mesh) as others:
        await others.quiet()
        whole = await many_leave(caller, CANCELS)
        await others.during(f"{CANCELS} clients leave at any moment")
    assert whole >= CANCELS / STAYS / 2
    await simulated.calls_reach(concurrent=0, waiting=0)
    wait_until(lambda: not any(running(mesh).values()), "the end of all calls")
    wait_until(lambda: not more(open_files(mesh), files), "the end of their connections", timeout_seconds=IDLE_SECONDS)
    growth = {name: now - resident[name] for name, now in memory(mesh).items()}
    assert max(growth.values()) < GROWTH, growth


def running(mesh: Mesh) -> dict[str, int]:
    """The calls that each process believes to be in progress."""
    processes = [name for name in mesh.pids() if name.startswith(("agent", "gateway", "cache"))]
    ports = {name: mesh.metrics_port(name) for name in processes}
    return {name: httpx.get(f"http://127.0.0.1:{port}/status").json()["running"] for name, port in ports.items()}


def more(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in now.items() if count > before[name]}


async def test_no_turn_of_a_client_that_left_is_in_a_session_of_another(caller: Caller, simulated: Server) -> None:
    await many_leave(caller, WARM_UP)
    await simulated.calls_reach(concurrent=0, waiting=0)
    for number in range(CLIENTS):
        async with caller.session.get(f"/api/v1/sessions/leaver-{number}") as response:
            messages = (await response.json())["messages"]
        assert messages
        assert own_words(messages, number), messages

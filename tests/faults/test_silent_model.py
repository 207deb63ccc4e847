"""A model that falls silent: its callers hear heartbeats and then the truth, and nothing stays taken."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

import json
from collections.abc import AsyncIterator

import grpc
import pytest

from launcher.processes.status import status_of
from meshkit.errors import Code, Reason
from shoal.agent.v1 import agent_pb2 as pb
from tests.faults.callers import Caller, caller_of, turn
from tests.faults.waiting import until
from tests.mesh import Mesh
from tests.refusal import refusal
from tests.simulated_model import Server

AGENTS = ("agent-1", "agent-2", "agent-3")
SILENCES = ("[[hang]]", "[[hang_after=3]]", "[[first_token=5]]")
FALLS_SILENT = "Begin. [[hang_after=3]]"
RESERVED = 1500
"""Model tokens, of a burst of 2,000 for a metered key."""


@pytest.fixture(scope="module")
def key(wide_mesh: Mesh) -> str:
    return wide_mesh.create_key(tenant="listener", tier="basic")


@pytest.fixture
async def caller(wide_mesh: Mesh, key: str) -> AsyncIterator[Caller]:
    async with caller_of(wide_mesh, key) as caller:
        yield caller


async def nothing_is_left(mesh: Mesh, simulated: Server) -> None:
    """The model was stopped, and every slot is free."""
    await simulated.calls_reach(concurrent=0, waiting=0)

    async def all_are_idle() -> bool:
        told = [await status_of(mesh.metrics_port(agent)) for agent in AGENTS]
        return all(status and status.slots and status.running == 0 for status in told)

    await until(all_are_idle, "the end of all turns")


def metered(task: str) -> pb.ExecuteStreamRequest:
    """A stream that reserves so much that there can be only one of it."""
    request = pb.ExecuteStreamRequest(turn=turn(task))
    request.turn.sampling.max_tokens = RESERVED
    return request


async def test_a_stream_gets_heartbeats_and_then_what_happened(
    wide_mesh: Mesh, caller: Caller, simulated: Server
) -> None:
    events, failure = list[str](), None
    stream = caller.agent.ExecuteStream(metered(FALLS_SILENT), metadata=caller.metadata, timeout=60)
    try:
        async for event in stream:
            events.append(str(event.WhichOneof("event")))
    except grpc.aio.AioRpcError as error:
        failure = error.code()
    assert failure is grpc.StatusCode.DEADLINE_EXCEEDED
    assert events[-3:] == ["heartbeat"] * 3
    assert events.count("delta") > 0
    await nothing_is_left(wide_mesh, simulated)


async def test_the_tokens_that_were_reserved_are_there_again(caller: Caller) -> None:
    for _ in range(2):
        error = await refusal(caller.agent.ExecuteStream(metered(FALLS_SILENT), metadata=caller.metadata, timeout=60))
        assert (error.code, error.reason) == (Code.DEADLINE_EXCEEDED, Reason.MODEL_TIMEOUT)


async def test_over_rest_heartbeats_are_comments_and_the_end_is_an_error(
    wide_mesh: Mesh, caller: Caller, simulated: Server
) -> None:
    body = {"task": FALLS_SILENT, "stream": True, "cache": {"mode": "bypass"}}
    async with caller.session.post("/api/v1/task", json=body) as response:
        lines = [line.decode().rstrip() async for line in response.content]
    assert lines.count(": heartbeat") >= 3
    assert lines[-3] == "event: error"
    error = json.loads(lines[-2].removeprefix("data: "))
    assert (error["code"], error["reason"]) == ("DEADLINE_EXCEEDED", "MODEL_TIMEOUT")
    assert "data: [DONE]" not in lines
    await nothing_is_left(wide_mesh, simulated)


@pytest.mark.parametrize("silence", SILENCES)
async def test_a_callers_own_deadline_comes_first_and_is_told_as_what_it_is(
    silence: str, wide_mesh: Mesh, caller: Caller, simulated: Server
) -> None:
    asked, unmetered = turn(f"Wait. {silence}"), (("x-api-key", wide_mesh.api_key),)
    plain = caller.agent.Execute(asked, metadata=unmetered, timeout=0.5)
    stream = caller.agent.ExecuteStream(pb.ExecuteStreamRequest(turn=asked), metadata=unmetered, timeout=0.5)
    assert [await plain.code(), await stream.code()] == [grpc.StatusCode.DEADLINE_EXCEEDED] * 2
    await nothing_is_left(wide_mesh, simulated)

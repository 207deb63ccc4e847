"""Cached answers are replayed, as a stream or plain, whatever they were stored as."""

import re

import pytest

from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.agent.agent_process import Caller
from tests.integration.agent.cached.cached_agent import asking
from tests.integration.cache.caller import Caller as CacheCaller
from tests.simulated_model import Server

TASKS = {
    "a short answer": ("hello [[tokens=2]]", "hello hello"),
    "a long answer": ("hello [[tokens=2500]]", " ".join(["hello"] * 2500)),
    "an answer in other scripts": ("h\u00e9 \u4f60\u597d \U0001f600 [[tokens=3]]", "h\u00e9 \u4f60\u597d \U0001f600"),
    "the wish for a tool": ('[[tool=add {"a": 1}]]', ""),
}


def said(events: list[pb.ExecuteStreamResponse]) -> list[pb.ExecuteStreamResponse]:
    """All but the beginning, which differs from turn to turn."""
    return [event for event in events if event.WhichOneof("event") not in ("started", "heartbeat")]


def without_call_ids(events: list[pb.ExecuteStreamResponse]) -> list[str]:
    """What was said, but for the id that a model mints for each call."""
    return [re.sub(r'id: "call-[^"]*"', "", str(event)) for event in said(events)]


@pytest.mark.parametrize(("task", "output"), TASKS.values(), ids=TASKS)
async def test_what_was_stored_plain_is_replayed_as_the_stream_it_was(
    acme: Caller, model: Server, task: str, output: str
) -> None:
    request = pb.ExecuteRequest(task=task)
    plain = await acme.execute(request)
    replayed = await acme.events(request)
    computed = await acme.events(asking(task, pb.CACHE_MODE_BYPASS))
    assert (plain.output, plain.cache.status) == (output, pb.CACHE_STATUS_MISS)
    assert replayed[0].started.cache.status == pb.CACHE_STATUS_HIT
    assert without_call_ids(replayed) == without_call_ids(computed)
    assert "".join(event.delta.text for event in replayed) == output
    assert [event.tool_call for event in replayed if event.HasField("tool_call")] == list(plain.tool_calls)
    assert [event.usage for event in replayed if event.HasField("usage")] == [plain.usage]
    assert replayed[-1].completed.finish_reason == plain.finish_reason
    await model.calls_reach(begun=2, completed=2)


@pytest.mark.parametrize(("task", "output"), TASKS.values(), ids=TASKS)
async def test_what_was_stored_as_a_stream_is_replayed_plain_and_as_the_same_stream(
    acme: Caller, model: Server, task: str, output: str
) -> None:
    request = pb.ExecuteRequest(task=task)
    streamed, plain, replayed = await acme.events(request), await acme.execute(request), await acme.events(request)
    assert plain.cache.status == pb.CACHE_STATUS_HIT
    assert (plain.output, plain.finish_reason) == (output, streamed[-1].completed.finish_reason)
    assert list(plain.tool_calls) == [event.tool_call for event in streamed if event.HasField("tool_call")]
    assert [plain.usage] == [event.usage for event in streamed if event.HasField("usage")]
    assert said(replayed) == said(streamed)
    await model.calls_reach(begun=1, completed=1)


async def test_what_cannot_be_read_is_replaced(acme: Caller, cache: CacheCaller) -> None:
    key = (await acme.execute(asking("hello"))).cache.key
    await cache.keep(key, b"\xc1 something else")
    assert (await acme.execute(asking("hello"))).cache.status == pb.CACHE_STATUS_MISS
    assert (await acme.execute(asking("hello"))).cache.status == pb.CACHE_STATUS_HIT

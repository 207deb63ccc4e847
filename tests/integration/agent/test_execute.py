"""Turns through a real replica: answered whole and as a stream, failing, left by their callers."""

import asyncio
import time
from pathlib import Path

import pytest

from meshkit.errors import Reason
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.agent.agent_process import REPLICA, TIMEOUT_SECONDS, AgentProcess, Caller, agent_process
from tests.mesh_identity import signed
from tests.refusal import refusal
from tests.simulated_model import Server

HELLO = pb.ExecuteRequest(task="hello big world [[tokens=4]]")


async def test_a_turn_is_answered_though_the_cache_cannot_be_reached(acme: Caller, model: Server) -> None:
    began = time.time()
    response = await acme.execute(HELLO)
    assert response.output == "hello big world hello"
    assert response.finish_reason == pb.FINISH_REASON_STOP
    assert (response.model, response.why) == ("small", "the default model")
    assert response.cache == pb.CacheReport(status=pb.CACHE_STATUS_MISS, key=response.cache.key)
    assert response.usage.output_tokens == 4
    assert (response.replica, response.session_id) == (REPLICA, "")
    assert began - 1 < response.created.seconds <= time.time()
    await model.calls_reach(begun=1, completed=1)


async def test_a_stream_counts_without_gaps_from_started_to_completed(acme: Caller) -> None:
    events = await acme.events(HELLO)
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["started", "delta", "delta", "delta", "delta", "usage", "completed"]
    assert [event.sequence for event in events] == list(range(1, 8))
    assert "".join(event.delta.text for event in events) == "hello big world hello"
    assert events[0].started.replica == REPLICA
    assert events[-1].completed.finish_reason == pb.FINISH_REASON_STOP


async def test_a_caller_that_takes_groups_is_told_the_same_in_fewer_messages(acme: Caller) -> None:
    turn = pb.ExecuteStreamRequest(turn=pb.ExecuteRequest(task="hello [[tokens=500]]"), group_events=True)
    call = acme.stub.ExecuteStream(turn, metadata=acme.metadata, timeout=TIMEOUT_SECONDS)
    messages = [message async for message in call]
    events = [event for message in messages for event in (message.group.events or [message])]
    assert [event.sequence for event in events] == list(range(1, 504))
    assert {event.WhichOneof("event") for event in events[1:-2]} == {"delta"}
    assert messages[0].HasField("started")
    assert events[-1].completed.finish_reason == pb.FINISH_REASON_STOP
    assert len(messages) < len(events)


async def test_ids_differ_from_turn_to_turn(acme: Caller) -> None:
    starts = [(await acme.events(HELLO))[0].started for _ in range(2)]
    assert len({text for started in starts for text in (started.id, started.stream_id)}) == 4


@pytest.mark.parametrize(("mode", "header"), [(pb.CACHE_MODE_DEFAULT, "miss"), (pb.CACHE_MODE_BYPASS, "bypass")])
async def test_replica_and_cache_are_told_in_headers(acme: Caller, mode: pb.CacheMode.ValueType, header: str) -> None:
    request = pb.ExecuteRequest(task="hello", cache=pb.CacheControl(mode=mode))
    whole = acme.stub.Execute(request, metadata=acme.metadata)
    response = await whole
    stream = acme.stream(request)
    async for _ in stream:
        pass
    for metadata in (await whole.initial_metadata(), await stream.initial_metadata()):
        headers = {str(key): str(value) for key, value in metadata or ()}
        assert (headers["x-shoal-replica"], headers["x-shoal-cache"]) == (REPLICA, header)
        assert headers.get("x-shoal-cache-key", "") == response.cache.key


async def test_headers_and_started_come_before_the_first_token(acme: Caller, model: Server) -> None:
    stream = acme.stream(pb.ExecuteRequest(task="[[hang]]"))
    started = await anext(aiter(stream))
    assert started.started.model == "small"
    await model.calls_reach(concurrent=1)
    stream.cancel()


async def test_the_model_gets_what_the_caller_sent(acme: Caller, model: Server) -> None:
    await acme.execute(
        pb.ExecuteRequest(
            task="Add.",
            model="large",
            sampling=pb.SamplingParameters(max_tokens=2, temperature=0, stop=["."]),
            history=[pb.Message(role=pb.ROLE_SYSTEM, content="Be kind.")],
            tools=[pb.Tool(name="add")],
        )
    )
    sent = (await model.calls())["last_request"]
    assert sent["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Add."}]
    assert (sent["model"], sent["max_tokens"], sent["temperature"], sent["stop"]) == ("large", 2, 0, ["."])
    assert sent["tools"][0]["function"]["name"] == "add"


async def test_the_wish_for_a_tool_ends_the_turn_and_its_result_goes_on(acme: Caller) -> None:
    task = pb.Message(role=pb.ROLE_USER, content='[[tool=add {"a": 1}]] the sum [[tokens=3]]')
    first = await acme.execute(pb.ExecuteRequest(task=task.content))
    (call,) = first.tool_calls
    assert first.finish_reason == pb.FINISH_REASON_TOOL_CALLS
    assert (first.output, call.name, call.arguments) == ("", "add", '{"a": 1}')
    asked = pb.Message(role=pb.ROLE_ASSISTANT, tool_calls=[call])
    result = pb.Message(role=pb.ROLE_TOOL, content="it is three", tool_call_id=call.id)
    second = await acme.execute(pb.ExecuteRequest(history=[task, asked, result]))
    assert second.output == "it is three"
    events = await acme.events(pb.ExecuteRequest(task=task.content))
    assert [event.WhichOneof("event") for event in events] == ["started", "tool_call", "usage", "completed"]


@pytest.mark.parametrize(
    ("directive", "reason", "code"),
    [
        ("[[status=400]]", Reason.MODEL_REFUSED, "INVALID_ARGUMENT"),
        ("[[status=401]]", Reason.MODEL_UNAVAILABLE, "UNAVAILABLE"),
        ("[[status=503]]", Reason.MODEL_UNAVAILABLE, "UNAVAILABLE"),
        ("[[garbage]]", Reason.MODEL_UNAVAILABLE, "UNAVAILABLE"),
        ("[[break_after=1]]", Reason.MODEL_UNAVAILABLE, "UNAVAILABLE"),
    ],
)
async def test_trouble_with_the_model_has_a_reason(acme: Caller, directive: str, reason: Reason, code: str) -> None:
    request = pb.ExecuteRequest(task=f"hello {directive}")
    for call in (acme.execute(request), acme.stream(request)):
        error = await refusal(call)
        assert (error.reason, error.code) == (reason, code)


async def test_a_model_at_its_limit_says_when_to_come_back(acme: Caller) -> None:
    error = await refusal(acme.execute(pb.ExecuteRequest(task="[[status=429]]")))
    assert (error.reason, error.retry_after_seconds) == (Reason.MODEL_UNAVAILABLE, 1.0)


async def test_a_stream_that_breaks_has_its_deltas_and_no_end(acme: Caller) -> None:
    stream = acme.stream(pb.ExecuteRequest(task="one two three [[break_after=2]]"))
    reader = aiter(stream)
    events = [await anext(reader) for _ in range(3)]
    assert [event.delta.text for event in events[1:]] == ["one", " two"]
    assert (await refusal(anext(reader))).reason is Reason.MODEL_UNAVAILABLE


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_caller_that_leaves_stops_the_model(acme: Caller, model: Server, streamed: bool) -> None:
    request = pb.ExecuteRequest(task="[[hang]]")
    call = acme.stream(request) if streamed else acme.stub.Execute(request, metadata=acme.metadata)
    await model.calls_reach(begun=1, concurrent=1)
    call.cancel()
    await model.calls_reach(cancelled=1, completed=0, concurrent=0)


async def test_a_caller_that_reads_slowly_and_leaves_stops_the_model(acme: Caller, model: Server) -> None:
    """The replica is then waiting to write, not to read."""
    stream = acme.stream(pb.ExecuteRequest(task=f"{'x' * 200} [[tokens=100000]]"))
    await anext(aiter(stream))
    await model.calls_reach(concurrent=1)
    stream.cancel()
    await model.calls_reach(cancelled=1, completed=0, concurrent=0)


async def test_a_deadline_that_passes_stops_the_model(acme: Caller, model: Server) -> None:
    request = pb.ExecuteRequest(task="[[hang]]")
    error = await refusal(acme.stub.Execute(request, metadata=acme.metadata, timeout=1.0))
    assert error.reason is Reason.DEADLINE_EXCEEDED
    await model.calls_reach(begun=1, cancelled=1, concurrent=0)


async def test_many_turns_at_the_same_time_each_get_their_own_answer(acme: Caller) -> None:
    requests = [pb.ExecuteRequest(task=f"number {number} [[tokens=2]]") for number in range(50)]
    responses = await asyncio.gather(*(acme.execute(request) for request in requests))
    assert [response.output for response in responses] == [f"number {number}" for number in range(50)]


async def test_heartbeats_come_only_after_started_and_count_nothing(
    valkey_url: str, model: Server, tmp_path: Path
) -> None:
    with agent_process(tmp_path, redis_url=valkey_url, model_url=model.url, SHOAL_HEARTBEAT_SECONDS="0.01") as restless:
        async with Caller(restless.address, signed("acme")) as caller:
            events = await caller.events(
                pb.ExecuteRequest(task="one two three [[tokens=3]] [[tokens_per_second=20]]", session_id="s")
            )
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "started"
    assert "heartbeat" in kinds
    counted = [event.sequence for event in events if event.WhichOneof("event") != "heartbeat"]
    assert counted == list(range(1, 7))
    assert [event.sequence for event in events] == sorted(event.sequence for event in events)


async def test_models_are_listed_the_default_one_first(acme: Caller) -> None:
    models = (await acme.list_models()).models
    assert [model.id for model in models] == ["small", "large"]
    assert models[0].owned_by == "simulated"
    assert models[0].created.seconds > 1_700_000_000


async def test_prompts_and_answers_are_in_no_log(agent: AgentProcess, acme: Caller) -> None:
    await acme.execute(pb.ExecuteRequest(task="nightingale", session_id="s"))
    await refusal(acme.execute(pb.ExecuteRequest(task="nightingale [[garbage]]")))
    await refusal(acme.execute(pb.ExecuteRequest(task="nightingale", model="none")))
    assert "nightingale" not in agent.log.read_text()

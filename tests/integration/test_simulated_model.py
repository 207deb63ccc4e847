"""The simulated model as a process, asked by OpenAI's own client."""

import asyncio
import json
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import openai
import pytest
from openai.types.chat import ChatCompletionChunk
from openai.types.chat import ChatCompletionMessageParam as MessageParam

from tests.simulated_model import BOUND_SECONDS, ModelProcess, Server, clients_of, model_process, simulated_model

T = TypeVar("T")


@asynccontextmanager
async def in_background(call: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Let a call run beside the test; at the end it is cancelled if it still runs."""
    task = asyncio.create_task(call)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(scope="module")
def running_model() -> Iterator[ModelProcess]:
    with model_process() as model:
        yield model


@pytest.fixture
async def model(running_model: ModelProcess) -> AsyncIterator[Server]:
    async with clients_of(running_model) as server:
        await server.count_anew()
        yield server


def _user(text: str) -> list[MessageParam]:
    return [{"role": "user", "content": text}]


async def _answer(server: Server, text: str) -> str | None:
    completion = await server.client.chat.completions.create(model="any", messages=_user(text))
    return completion.choices[0].message.content


async def _stream(server: Server, text: str) -> openai.AsyncStream[ChatCompletionChunk]:
    return await server.client.chat.completions.create(model="any", messages=_user(text), stream=True)


async def _stream_until_it_ends(server: Server, text: str, received: list[str]) -> None:
    """Collect the pieces of a streamed answer, also those before an error."""
    async for chunk in await _stream(server, text):
        received += [choice.delta.content for choice in chunk.choices if choice.delta.content]


async def test_a_plain_answer_repeats_the_prompt_and_counts_its_tokens(model: Server) -> None:
    completion = await model.client.chat.completions.create(
        model="small", messages=_user("hello big world"), max_tokens=4
    )
    assert completion.model == "small"
    assert completion.choices[0].message.content == "hello big world hello"
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (3, 4)


async def test_a_streamed_answer_has_the_same_text_and_the_usage_at_its_end(model: Server) -> None:
    stream = await model.client.chat.completions.create(
        model="small",
        messages=_user("hello big world"),
        max_tokens=4,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    pieces = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert pieces == ["hello", " big", " world", " hello"]
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 4


async def test_a_paced_stream_delivers_tokens_before_it_is_over(model: Server) -> None:
    stream = await _stream(model, "a b [[tokens=2]] [[tokens_per_second=0.1]]")
    opening, first = await anext(stream), await anext(stream)
    assert (opening.choices[0].delta.content, first.choices[0].delta.content) == ("", "a")
    assert (await model.calls())["concurrent"] == 1
    await stream.close()


async def test_a_paced_stream_delivers_each_token_once(model: Server) -> None:
    received: list[str] = []
    await _stream_until_it_ends(model, "a b c [[tokens=4]] [[tokens_per_second=100]]", received)
    assert received == ["a", " b", " c", " a"]


async def test_a_plain_tool_call_is_answered_with_its_result(model: Server) -> None:
    messages = _user('[[tool=add {"a": 1}]] the sum')
    completion = await model.client.chat.completions.create(model="any", messages=messages)
    assert completion.choices[0].finish_reason == "tool_calls"
    [call] = completion.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 1})
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "it is three"})
    answer = await model.client.chat.completions.create(model="any", messages=messages, max_tokens=3)
    assert answer.choices[0].message.content == "it is three"


async def test_the_official_client_puts_streamed_tool_calls_together(model: Server) -> None:
    prompt = '[[tool=add {"numbers": [[1, 2], [3, 4]]}]] [[tool=now]]'
    async with model.client.chat.completions.stream(model="any", messages=_user(prompt)) as stream:
        calls = (await stream.get_final_completion()).choices[0].message.tool_calls or []
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("add", {"numbers": [[1, 2], [3, 4]]}),
        ("now", {}),
    ]


async def test_the_last_request_can_be_read_back(model: Server) -> None:
    await model.client.chat.completions.create(model="any", messages=_user("hello"), temperature=0.25)
    last = (await model.calls())["last_request"]
    assert last == {"model": "any", "messages": [{"role": "user", "content": "hello"}], "temperature": 0.25}


@pytest.mark.parametrize("stream", [False, True])
async def test_an_ordered_error_reaches_the_client_as_such(model: Server, stream: bool) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        await model.client.chat.completions.create(model="any", messages=_user("[[status=429]]"), stream=stream)
    assert caught.value.response.headers["retry-after"] == "1"
    with pytest.raises(openai.InternalServerError):
        await model.client.chat.completions.create(model="any", messages=_user("[[status=503]]"), stream=stream)


async def test_a_bad_request_is_refused_with_the_reason_and_counted(model: Server) -> None:
    with pytest.raises(openai.BadRequestError, match="no directive"):
        await _answer(model, "[[unheard_of]]")
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        await model.client.chat.completions.create(model="any", messages=_user("x"), max_tokens=0)
    await model.calls_reach(begun=2, completed=2)


async def test_a_garbage_stream_breaks_after_its_first_token(model: Server) -> None:
    received: list[str] = []
    with pytest.raises(json.JSONDecodeError):
        await _stream_until_it_ends(model, "[[garbage]] one two", received)
    assert received == ["one"]


async def test_a_cut_stream_delivers_the_tokens_before_the_cut(model: Server) -> None:
    received: list[str] = []
    with pytest.raises(openai.APIConnectionError):
        await _stream_until_it_ends(model, "[[break_after=2]] one two three", received)
    assert received == ["one", " two"]
    await model.calls_reach(begun=1, completed=1, cancelled=0)


@pytest.mark.parametrize(
    ("prompt", "error"), [("[[garbage]]", json.JSONDecodeError), ("[[break_after=2]]", openai.APIConnectionError)]
)
async def test_a_plain_answer_is_spoilt_as_ordered(model: Server, prompt: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await _answer(model, prompt)
    await model.calls_reach(begun=1, completed=1, cancelled=0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hanging_call_ends_when_the_client_leaves(model: Server, stream: bool) -> None:
    request = model.client.chat.completions.create(model="any", messages=_user("[[hang]]"), stream=stream)
    async with in_background(request):
        await model.calls_reach(begun=1, concurrent=1)
    await model.calls_reach(begun=1, cancelled=1, completed=0, concurrent=0)


async def test_a_stalled_stream_is_counted_as_cancelled_when_the_client_leaves(model: Server) -> None:
    stream = await _stream(model, "[[hang_after=2]] one two three")
    pieces = [(await anext(stream)).choices[0].delta.content for _ in range(3)]
    assert pieces == ["", "one", " two"]
    await model.calls_reach(concurrent=1)
    await stream.close()
    await model.calls_reach(cancelled=1, concurrent=0)


async def test_a_reset_forgets_the_calls(model: Server) -> None:
    await _answer(model, "hello")
    await model.http.delete("/calls")
    calls = await model.calls()
    assert calls.pop("last_request") is None
    assert set(calls.values()) == {0}


async def test_the_models_and_the_health_can_be_asked_for() -> None:
    async with simulated_model("--model", "small", "--model", "large") as server:
        assert [model.id async for model in server.client.models.list()] == ["small", "large"]
        assert (await server.http.get("/health")).json() == {"status": "ok"}


async def test_slots_bound_the_calls_that_run_and_the_rest_queue() -> None:
    async with simulated_model("--slots", "2") as server, in_background(_answer(server, "[[hang]]")):
        async with in_background(_answer(server, "[[hang]]")) as leaving:
            await server.calls_reach(concurrent=2)
            async with in_background(_answer(server, "hello [[tokens=1]]")) as queued:
                await server.calls_reach(begun=3, concurrent=2, waiting=1)
                leaving.cancel()
                assert await asyncio.wait_for(queued, BOUND_SECONDS) == "hello"
        await server.calls_reach(completed=1, cancelled=1, waiting=0, concurrent=1, max_concurrent=2)


async def _outcomes(*options: str) -> list[bool]:
    """For each of twenty calls, whether it was answered."""
    async with simulated_model(*options) as server:
        body = {"model": "any", "messages": _user("hello")}
        return [(await server.http.post("/v1/chat/completions", json=body)).is_success for _ in range(20)]


async def test_the_same_seed_meets_the_same_errors() -> None:
    options = ["--error-rate", "0.5", "--error-status", "502", "--seed", "7"]
    once, again = await asyncio.gather(_outcomes(*options), _outcomes(*options))
    assert set(once) == {True, False}
    assert once == again


async def test_the_first_token_waits_for_the_given_time() -> None:
    async with (
        simulated_model("--first-token", "fixed:3600", "--output-tokens", "2") as server,
        in_background(_answer(server, "one two")) as waiting,
    ):
        await server.calls_reach(concurrent=1)
        assert await _answer(server, "[[first_token=0]] one two") == "one two"
        assert not waiting.done()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_server_cleanly_though_calls_hang(number: signal.Signals) -> None:
    async with (
        simulated_model("--slots", "1") as server,
        in_background(_answer(server, "[[hang]]")) as running,
        in_background(_answer(server, "[[hang]]")) as waiting,
    ):
        await server.calls_reach(concurrent=1, waiting=1)
        server.process.send_signal(number)
        assert await asyncio.to_thread(server.process.wait, BOUND_SECONDS) == 0
        for call in (running, waiting):
            with pytest.raises(openai.APIConnectionError):
                await call


async def test_a_taken_port_is_refused_with_a_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "load.simulated_model", "--port", port]
        process = await asyncio.create_subprocess_exec(*command, stderr=PIPE)
        _, stderr = await asyncio.wait_for(process.communicate(), BOUND_SECONDS)
    assert process.returncode == 1
    assert b"cannot listen on 127.0.0.1:" + port.encode() in stderr
    assert b"try --port 0" in stderr

"""The model's client against the simulated model, with everything that can go wrong ordered in the prompt."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import aiohttp
import pytest

from load.measuring.ports import free_port
from meshkit.errors import Reason, ShoalError
from services.agent.conversation import (
    AnswerEvent,
    Completed,
    Delta,
    FinishReason,
    Message,
    Role,
    Sampling,
    Tool,
    ToolCall,
    Usage,
)
from services.agent.openai_model import OpenAIModel
from services.agent.ports import ChatRequest, ModelInfo
from tests.simulated_model import BOUND_SECONDS, ModelProcess, Server, clients_of, model_process

BRIEF_SILENCE_SECONDS = 0.2


@pytest.fixture(scope="module")
def running_model() -> Iterator[ModelProcess]:
    with model_process("--model", "small", "--model", "large") as model:
        yield model


@pytest.fixture
async def server(running_model: ModelProcess) -> AsyncIterator[Server]:
    async with clients_of(running_model) as server:
        await server.count_anew()
        yield server


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def model(server: Server, session: aiohttp.ClientSession) -> OpenAIModel:
    return OpenAIModel(session, base_url=f"{server.url}/v1/", api_key="", silence_seconds=BOUND_SECONDS)


@pytest.fixture
def impatient(server: Server, session: aiohttp.ClientSession) -> OpenAIModel:
    return OpenAIModel(session, base_url=f"{server.url}/v1", api_key="", silence_seconds=BRIEF_SILENCE_SECONDS)


def asking(*messages: str | Message, max_tokens: int | None = None) -> ChatRequest:
    spoken = tuple(Message(Role.USER, message) if isinstance(message, str) else message for message in messages)
    return ChatRequest(model="small", messages=spoken, sampling=Sampling(max_tokens=max_tokens))


async def answer_to(model: OpenAIModel, *messages: str | Message, max_tokens: int | None = None) -> list[AnswerEvent]:
    return [event async for event in model.chat(asking(*messages, max_tokens=max_tokens))]


def in_one_piece(prompt: str, *, max_tokens: int | None = None) -> ChatRequest:
    messages = (Message(Role.USER, prompt),)
    return ChatRequest(model="small", messages=messages, sampling=Sampling(max_tokens), in_one_piece=True)


async def failure_of(model: OpenAIModel, prompt: str) -> tuple[list[AnswerEvent], ShoalError]:
    """What came before the failure, and the failure."""
    events: list[AnswerEvent] = []
    try:
        async with aclosing(model.chat(asking(prompt))) as answer:
            async for event in answer:
                events.append(event)  # noqa: PERF401 - a comprehension would lose them at the failure
    except ShoalError as error:
        return events, error
    pytest.fail("the model did not fail")


async def test_an_answer_is_its_words_its_usage_and_its_end(model: OpenAIModel) -> None:
    assert await answer_to(model, "hello world [[tokens=3]]") == [
        Delta("hello"),
        Delta(" world"),
        Delta(" hello"),
        Usage(3, 3),
        Completed(FinishReason.STOP),
    ]


async def test_an_answer_in_one_piece_says_the_same_in_a_single_delta(model: OpenAIModel, server: Server) -> None:
    assert [event async for event in model.chat(in_one_piece("hello world [[tokens=3]]", max_tokens=9))] == [
        Delta("hello world hello"),
        Usage(3, 3),
        Completed(FinishReason.STOP),
    ]
    assert "stream" not in (await server.calls())["last_request"]


async def test_an_answer_in_one_piece_may_be_the_wish_for_tools(model: OpenAIModel) -> None:
    answer = [event async for event in model.chat(in_one_piece('[[tool=add {"a": 1}]] [[tool=now]]'))]
    assert [(call.name, call.arguments) for call in answer if isinstance(call, ToolCall)] == [
        ("add", '{"a": 1}'),
        ("now", "{}"),
    ]
    assert answer[-1] == Completed(FinishReason.TOOL_CALLS)


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("[[status=400]]", Reason.MODEL_REFUSED),
        ("[[status=500]]", Reason.MODEL_UNAVAILABLE),
        ("[[hang]]", Reason.MODEL_TIMEOUT),
    ],
)
async def test_an_answer_in_one_piece_fails_as_others_do(impatient: OpenAIModel, prompt: str, reason: Reason) -> None:
    with pytest.raises(ShoalError) as failed:
        [event async for event in impatient.chat(in_one_piece(prompt))]
    assert failed.value.reason is reason


async def test_cancelling_an_answer_in_one_piece_stops_the_model(model: OpenAIModel, server: Server) -> None:
    call = asyncio.create_task(anext(model.chat(in_one_piece("[[hang]]"))))
    await server.calls_reach(concurrent=1)
    call.cancel()
    await server.calls_reach(cancelled=1, completed=0, concurrent=0)
    await asyncio.gather(call, return_exceptions=True)
    assert call.cancelled()


async def test_an_answer_that_is_cut_off_says_so(model: OpenAIModel) -> None:
    assert (await answer_to(model, "hello", max_tokens=2))[-1] == Completed(FinishReason.LENGTH)


async def test_an_empty_answer_is_an_answer(model: OpenAIModel) -> None:
    assert await answer_to(model, "[[empty]]") == [Usage(1, 0), Completed(FinishReason.STOP)]


async def test_tools_are_asked_for_and_their_results_answered(model: OpenAIModel) -> None:
    prompt = '[[tool=add {"numbers": [[1, 2], [3, 4]]}]] [[tool=now]]'
    *calls, _, completed = await answer_to(model, prompt)
    assert completed == Completed(FinishReason.TOOL_CALLS)
    assert [(call.name, call.arguments) for call in calls if isinstance(call, ToolCall)] == [
        ("add", '{"numbers": [[1, 2], [3, 4]]}'),
        ("now", "{}"),
    ]
    ids = [call.id for call in calls if isinstance(call, ToolCall)]
    assert len(set(ids)) == 2
    asked = Message(Role.ASSISTANT, "", tool_calls=tuple(call for call in calls if isinstance(call, ToolCall)))
    results = [Message(Role.TOOL, f"result {number}", tool_call_id=call_id) for number, call_id in enumerate(ids)]
    assert (await answer_to(model, prompt, asked, *results, max_tokens=4))[:4] == [
        Delta("result"),
        Delta(" 0"),
        Delta(" result"),
        Delta(" 1"),
    ]


async def test_the_model_is_sent_all_of_the_request(model: OpenAIModel, server: Server) -> None:
    tool = Tool("add", "Adds.", {"type": "object"})
    request = ChatRequest(
        model="large",
        messages=(Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Add.")),
        sampling=Sampling(temperature=0.5, seed=7),
        tools=(tool,),
        tool_choice="add",
    )
    async for _ in model.chat(request):
        pass
    sent = (await server.calls())["last_request"]
    assert (sent["model"], sent["temperature"], sent["seed"]) == ("large", 0.5, 7)
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert sent["tools"][0]["function"]["name"] == sent["tool_choice"]["function"]["name"] == "add"


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_refused_request_is_refused_with_the_models_reason(model: OpenAIModel, status: int) -> None:
    events, error = await failure_of(model, f"[[status={status}]]")
    assert (events, error.reason) == ([], Reason.MODEL_REFUSED)
    assert f"simulated error {status}" in error.message


@pytest.mark.parametrize("status", [401, 403, 500, 502, 503, 529])
async def test_a_model_in_trouble_is_unavailable_without_its_words(model: OpenAIModel, status: int) -> None:
    """A 401 is about our key and not the caller's."""
    events, error = await failure_of(model, f"[[status={status}]]")
    assert (events, error.reason, error.retry_after_seconds) == ([], Reason.MODEL_UNAVAILABLE, None)
    assert "simulated" not in error.message
    assert str(status) in error.message


async def test_a_model_at_its_limit_says_when_to_come_back(model: OpenAIModel) -> None:
    _, error = await failure_of(model, "[[status=429]]")
    assert (error.reason, error.retry_after_seconds) == (Reason.MODEL_UNAVAILABLE, 1.0)


async def test_a_model_that_never_answers_is_given_up(impatient: OpenAIModel, server: Server) -> None:
    events, error = await failure_of(impatient, "[[hang]]")
    assert (events, error.reason) == ([], Reason.MODEL_TIMEOUT)
    assert "0.2 seconds" in error.message
    await server.calls_reach(cancelled=1, concurrent=0)


async def test_a_model_that_falls_silent_is_given_up(impatient: OpenAIModel, server: Server) -> None:
    events, error = await failure_of(impatient, "[[hang_after=2]] one two three")
    assert (events, error.reason) == ([Delta("one"), Delta(" two")], Reason.MODEL_TIMEOUT)
    await server.calls_reach(cancelled=1, concurrent=0)


@pytest.mark.parametrize(
    ("prompt", "before"),
    [("[[break_after=0]] one two", 0), ("[[break_after=2]] one two three", 2), ("[[garbage]] one two", 1)],
)
async def test_a_stream_that_breaks_gives_what_came_before(model: OpenAIModel, prompt: str, before: int) -> None:
    events, error = await failure_of(model, prompt)
    assert events == [Delta("one"), Delta(" two")][:before]
    assert error.reason is Reason.MODEL_UNAVAILABLE


async def test_a_model_that_is_not_there_is_unavailable(session: aiohttp.ClientSession) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    nowhere = OpenAIModel(session, base_url=url, api_key="", silence_seconds=BOUND_SECONDS)
    _, error = await failure_of(nowhere, "hello")
    assert error.reason is Reason.MODEL_UNAVAILABLE
    assert "127.0.0.1" not in error.message
    with pytest.raises(ShoalError) as refused:
        await nowhere.models()
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


async def test_closing_an_answer_stops_the_model(model: OpenAIModel, server: Server) -> None:
    answer = model.chat(asking("one two [[tokens_per_second=0.1]]"))
    assert await anext(answer) == Delta("one")
    await answer.aclose()
    await server.calls_reach(cancelled=1, completed=0, concurrent=0)


async def test_cancelling_a_call_that_waits_stops_the_model(model: OpenAIModel, server: Server) -> None:
    call = asyncio.create_task(answer_to(model, "[[hang]]"))
    await server.calls_reach(concurrent=1)
    call.cancel()
    await server.calls_reach(cancelled=1, completed=0, concurrent=0)
    await asyncio.gather(call, return_exceptions=True)
    assert call.cancelled()


async def test_the_models_on_offer_are_listed(model: OpenAIModel) -> None:
    models = await model.models()
    assert [model.id for model in models] == ["small", "large"]
    assert models[0] == ModelInfo("small", "simulated", models[0].created)
    assert models[0].created > 1_700_000_000


async def test_an_address_that_is_no_model_server_has_no_models(server: Server, session: aiohttp.ClientSession) -> None:
    """A wrong path answers 404, and a page that is no list answers 200."""
    for path in ("/nowhere", "/health?"):
        wrong = OpenAIModel(session, base_url=server.url + path, api_key="", silence_seconds=BOUND_SECONDS)
        with pytest.raises(ShoalError) as refused:
            await wrong.models()
        assert refused.value.reason is Reason.MODEL_UNAVAILABLE

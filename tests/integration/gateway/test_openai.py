"""OpenAI's API, asked by the official package."""

import httpx
import openai as sdk
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from meshkit.errors import Reason, ShoalError
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.gateway.scripted_agent import (
    HEARTBEAT,
    ScriptedAgent,
    completed,
    delta,
    tool_call,
    tool_result,
)

pytestmark = pytest.mark.asyncio(loop_scope="package")

CHAT = "/v1/chat/completions"
ADD: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}},
}


def asking(task: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": task}]


async def test_a_completion(openai: AsyncOpenAI, agent: ScriptedAgent) -> None:
    answer = await openai.chat.completions.create(model="big", messages=asking("Hello"), temperature=0.5, stop="end")
    assert (answer.id, answer.model, answer.created) == ("chatcmpl-turn_1", "big", 1_700_000_000)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Hello", "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (2, 3, 5)
    asked = agent.asked[-1]
    assert (asked.model, asked.task, asked.history[0].content) == ("big", "Hello", "Be brief.")
    assert (asked.sampling.temperature, list(asked.sampling.stop)) == (0.5, ["end"])


async def test_a_streamed_completion(openai: AsyncOpenAI, agent: ScriptedAgent) -> None:
    agent.on(
        "Slowly.",
        HEARTBEAT,
        delta("Hel"),
        tool_result("c1", "search", "4 results"),
        HEARTBEAT,
        delta("lo"),
        completed(pb.FINISH_REASON_LENGTH),
    )
    chunks = [
        chunk
        async for chunk in await openai.chat.completions.create(model="m", messages=asking("Slowly."), stream=True)
    ]
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "Hel", "lo", None]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, "length"]
    assert {chunk.id for chunk in chunks} == {"chatcmpl-turn_1"}


async def test_a_streamed_completion_tells_its_usage_if_asked(openai: AsyncOpenAI) -> None:
    stream = await openai.chat.completions.create(
        model="m", messages=asking("Hello"), stream=True, stream_options={"include_usage": True}
    )
    last = [chunk async for chunk in stream][-1]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == 5


async def test_a_tool_is_asked_for_and_its_result_given_back(openai: AsyncOpenAI, agent: ScriptedAgent) -> None:
    agent.on("1 + 1?", tool_call("c1", "add", '{"a": 1}'), completed(pb.FINISH_REASON_TOOL_CALLS))
    messages = asking("1 + 1?")
    choice = (await openai.chat.completions.create(model="m", messages=messages, tools=[ADD])).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    (asked_for,) = choice.message.tool_calls
    assert asked_for.type == "function"
    assert (asked_for.id, asked_for.function.name, asked_for.function.arguments) == ("c1", "add", '{"a": 1}')

    agent.on("", delta("2"), completed())
    result: ChatCompletionMessageParam = {"role": "tool", "tool_call_id": "c1", "content": "2"}
    # The whole message goes back as the package writes it, with all that it knows of.
    said: ChatCompletionMessageParam = choice.message.to_dict()  # type: ignore[assignment]
    answer = await openai.chat.completions.create(model="m", messages=[*messages, said, result], tools=[ADD])
    assert answer.choices[0].message.content == "2"
    assert [message.role for message in agent.asked[-1].history] == [
        pb.ROLE_SYSTEM,
        pb.ROLE_USER,
        pb.ROLE_ASSISTANT,
        pb.ROLE_TOOL,
    ]


async def test_tools_are_asked_for_in_a_stream(openai: AsyncOpenAI, agent: ScriptedAgent) -> None:
    calls = [tool_call(f"c{number}", "add", "{}") for number in (1, 2)]
    agent.on("Both.", *calls, completed(pb.FINISH_REASON_TOOL_CALLS))
    async with openai.chat.completions.stream(model="m", messages=asking("Both."), tools=[ADD]) as stream:
        final = await stream.get_final_completion()
    assert [made.id for made in final.choices[0].message.tool_calls or ()] == ["c1", "c2"]


async def test_one_model_can_be_asked_for(openai: AsyncOpenAI) -> None:
    listed = (await openai.models.list()).data
    assert await openai.models.retrieve(listed[-1].id) == listed[-1]
    with pytest.raises(sdk.BadRequestError) as refusal:
        await openai.models.retrieve("no/such")
    assert refusal.value.param == "model"


async def test_the_models_are_listed(openai: AsyncOpenAI) -> None:
    models = (await openai.models.list()).data
    assert [(model.id, model.owned_by, model.created) for model in models] == [
        ("small", "them", 1_700_000_000),
        ("big", "shoal", 0),
    ]


async def test_a_refusal_is_the_packages_own_error(openai: AsyncOpenAI, agent: ScriptedAgent) -> None:
    agent.on("Much.", ShoalError(Reason.TASK_TOO_LONG, "The task is too long.", field="task"))
    with pytest.raises(sdk.BadRequestError) as raised:
        await openai.chat.completions.create(model="m", messages=asking("Much."))
    assert (raised.value.code, raised.value.param, raised.value.type) == (
        "task_too_long",
        "messages",
        "invalid_request_error",
    )


@pytest.mark.parametrize(
    ("reason", "error", "kind"),
    [
        (Reason.MODEL_UNKNOWN, sdk.BadRequestError, "invalid_request_error"),
        (Reason.API_KEY_REQUIRED, sdk.AuthenticationError, "invalid_request_error"),
        (Reason.SESSION_NOT_FOUND, sdk.NotFoundError, "invalid_request_error"),
        (Reason.RATE_LIMITED, sdk.RateLimitError, "rate_limit_error"),
        (Reason.MODEL_UNAVAILABLE, sdk.InternalServerError, "server_error"),
        (Reason.MODEL_TIMEOUT, sdk.InternalServerError, "server_error"),
        (Reason.NOT_CACHED, sdk.InternalServerError, "server_error"),
    ],
)
async def test_every_kind_of_error_is_understood(
    openai: AsyncOpenAI, agent: ScriptedAgent, reason: Reason, error: type[sdk.APIStatusError], kind: str
) -> None:
    agent.on("Fail.", ShoalError(reason, "No.", retry_after_seconds=0.5))
    with pytest.raises(error) as raised:
        await openai.chat.completions.create(model="m", messages=asking("Fail."))
    assert (raised.value.code, raised.value.type) == (reason.lower(), kind)
    assert raised.value.response.headers["retry-after"] == "1"
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["retry_after_seconds"] == 0.5


async def test_a_stream_that_fails_half_way_raises_in_the_package(openai: AsyncOpenAI, agent: ScriptedAgent) -> None:
    agent.on("Break.", delta("Hel"), ShoalError(Reason.MODEL_UNAVAILABLE, "The model broke off."))
    stream = await openai.chat.completions.create(model="m", messages=asking("Break."), stream=True)
    chunks = aiter(stream)
    assert [(await anext(chunks)).choices[0].delta.content for _ in range(2)] == ["", "Hel"]
    with pytest.raises(sdk.APIError, match="The model broke off"):
        await anext(chunks)


async def test_a_stream_that_fails_half_way_has_no_done(http: httpx.AsyncClient, agent: ScriptedAgent) -> None:
    agent.on("Break.", delta("Hel"), ShoalError(Reason.MODEL_UNAVAILABLE, "The model broke off."))
    body = {"model": "m", "messages": asking("Break."), "stream": True}
    text = (await http.post(CHAT, json=body)).text
    assert text.split("\n\n")[-2].startswith('event: error\ndata: {"error":{"message":"The model broke off."')
    assert "[DONE]" not in text


async def test_what_is_not_served_is_refused_by_name(openai: AsyncOpenAI) -> None:
    with pytest.raises(sdk.BadRequestError) as raised:
        await openai.chat.completions.create(model="m", messages=asking("Hello"), n=2)
    assert (raised.value.code, raised.value.param) == ("field_invalid", "n")
    with pytest.raises(sdk.BadRequestError) as raised:
        await openai.chat.completions.create(model="m", messages=asking("Hello"), reasoning_effort="low")
    assert (raised.value.code, raised.value.param) == ("field_unknown", "reasoning_effort")


async def test_an_api_that_is_not_there_is_not_found_in_openais_shape(openai: AsyncOpenAI) -> None:
    with pytest.raises(sdk.NotFoundError) as raised:
        await openai.embeddings.create(model="m", input="Hello")
    assert raised.value.code == "path_not_found"

"""OpenAI's chat completions: what is served, what is refused by name, and what is answered."""

from typing import Any

import msgspec
import pytest

from meshkit.errors import Reason, ShoalError
from services.gateway.openai_shapes import ChatCompletionBody, completion, execute_request, model_list
from services.gateway.translate import struct
from shoal.agent.v1 import agent_pb2 as pb

USER = {"role": "user", "content": "Hello"}


def turn(messages: list[dict[str, Any]] | None = None, **fields: Any) -> pb.ExecuteRequest:
    body = {"model": "m", "messages": [USER] if messages is None else messages} | fields
    return execute_request(msgspec.convert(body, ChatCompletionBody))


def refused(messages: list[dict[str, Any]] | None = None, **fields: Any) -> ShoalError:
    with pytest.raises(ShoalError) as raised:
        turn(messages, **fields)
    assert raised.value.reason is Reason.FIELD_INVALID
    return raised.value


def test_the_last_message_of_the_user_is_the_task_and_what_is_before_it_the_history() -> None:
    request = turn(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "Very."},
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "1"},
            {"role": "user", "content": "Two?"},
        ]
    )
    assert request == pb.ExecuteRequest(
        task="Two?",
        model="m",
        sampling=pb.SamplingParameters(),
        history=[
            pb.Message(role=pb.ROLE_SYSTEM, content="Be brief."),
            pb.Message(role=pb.ROLE_SYSTEM, content="Very."),
            pb.Message(role=pb.ROLE_USER, content="One?"),
            pb.Message(role=pb.ROLE_ASSISTANT, content="1"),
        ],
        cache=pb.CacheControl(mode=pb.CACHE_MODE_DEFAULT),
    )


def test_the_result_of_a_tool_continues_the_turn_without_a_task() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    request = turn(
        [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "2"},
        ]
    )
    assert request.task == ""
    assert list(request.history) == [
        pb.Message(role=pb.ROLE_USER, content="Hello"),
        pb.Message(role=pb.ROLE_ASSISTANT, tool_calls=[pb.ToolCall(id="c1", name="add", arguments='{"a": 1}')]),
        pb.Message(role=pb.ROLE_TOOL, content="2", tool_call_id="c1"),
    ]


def test_content_in_parts_is_put_together() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert turn([{"role": "user", "content": parts}]).task == "Hello"


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", "refusal"])
def test_content_that_is_no_text_is_refused(kind: str) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": kind}]
    assert refused([USER, {"role": "user", "content": parts}]).field == "messages[1].content"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "system", "content": "Be brief."}],
        [USER, {"role": "assistant", "content": "I was say"}],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": []}],
        [USER, {"role": "user"}],
    ],
)
def test_messages_that_ask_nothing_are_refused(messages: list[dict[str, Any]]) -> None:
    assert refused(messages).field == "messages"


UNSUPPORTED: dict[str, list[Any]] = {
    "n": [2, 0, "1"],
    "presence_penalty": [0.1, -1],
    "frequency_penalty": [0.1, -1],
    "logit_bias": [{"50256": -100}, []],
    "logprobs": [True],
    "top_logprobs": [3],
    "response_format": [{"type": "json_object"}, {"type": "json_schema", "json_schema": {}}, "text"],
    "modalities": [["text", "audio"], ["audio"]],
    "parallel_tool_calls": [False],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in UNSUPPORTED.items() for value in values]
)
def test_what_would_be_promised_and_not_kept_is_refused_by_name(field: str, value: Any) -> None:
    error = refused(**{field: value})
    assert error.field == field
    assert f"'{field}'" in error.message


NEUTRAL: dict[str, list[Any]] = {
    "n": [None, 1],
    "presence_penalty": [None, 0, 0.0],
    "frequency_penalty": [None, 0, 0.0],
    "logit_bias": [None, {}],
    "logprobs": [None, False],
    "top_logprobs": [None, 0],
    "response_format": [None, {"type": "text"}],
    "modalities": [None, ["text"]],
    "parallel_tool_calls": [None, True],
    "user": ["u"],
    "metadata": [{"a": "b"}],
    "store": [True],
    "service_tier": ["auto"],
    "safety_identifier": ["x"],
    "prompt_cache_key": ["x"],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in NEUTRAL.items() for value in values])
def test_what_changes_nothing_is_taken(field: str, value: Any) -> None:
    assert turn(**{field: value}) == turn()


def test_every_field_that_is_taken_as_it_comes_is_tested() -> None:
    hints = msgspec.structs.fields(ChatCompletionBody)
    assert {field.name for field in hints if field.type is Any} == set(NEUTRAL) == set(NEUTRAL) | set(UNSUPPORTED)


def test_how_the_cache_may_be_used_is_handed_on() -> None:
    asked = {"mode": "refresh", "ttl_seconds": 60, "tags": ["a"], "public": True}
    expected = pb.CacheControl(mode=pb.CACHE_MODE_REFRESH, ttl_seconds=60, tags=["a"], public=True)
    assert turn(cache=asked).cache == expected
    assert turn(cache=None) == turn()


def test_sampling_is_handed_on() -> None:
    sampling = turn(temperature=0, top_p=0.5, max_tokens=7, seed=-1, stop="end").sampling
    assert sampling == pb.SamplingParameters(temperature=0.0, top_p=0.5, max_tokens=7, seed=-1, stop=["end"])
    assert list(turn(stop=["a", "b"]).sampling.stop) == ["a", "b"]
    assert turn(max_tokens=7, max_completion_tokens=5).sampling.max_tokens == 5


def test_tools_are_handed_on() -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "number"}}}
    tool: dict[str, Any] = {
        "type": "function",
        "function": {"name": "add", "description": "Adds.", "parameters": parameters, "strict": True},
    }
    expected = pb.Tool(name="add", description="Adds.", parameters=struct("tools", parameters))
    assert list(turn(tools=[tool]).tools) == [expected]
    tool["function"]["has_side_effects"] = expected.has_side_effects = True
    assert list(turn(tools=[tool]).tools) == [expected]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ""),
        ("auto", "auto"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "add"}}, "add"),
    ],
)
def test_the_choice_of_a_tool_is_handed_on(choice: Any, expected: str) -> None:
    assert turn(tool_choice=choice).tool_choice == expected


def test_a_schema_with_digits_that_would_be_lost_is_refused() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"maximum": 2**60}}}
    assert refused(tools=[tool]).field == "tools"


def response(**fields: Any) -> pb.ExecuteResponse:
    always: dict[str, Any] = {
        "finish_reason": pb.FINISH_REASON_STOP,
        "usage": pb.Usage(input_tokens=2, output_tokens=3),
    }
    made = pb.ExecuteResponse(id="turn_1", model="m", **(always | fields))
    made.created.FromSeconds(1_700_000_000)
    return made


def test_a_completion_has_openais_shape() -> None:
    assert completion(response(output="Hi")) == {
        "id": "chatcmpl-turn_1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
    }


def test_the_prompt_of_a_completion_whose_model_was_not_asked_is_said_to_be_cached() -> None:
    usage = pb.Usage(input_tokens=2, output_tokens=3, from_cache=True)
    assert completion(response(usage=usage))["usage"] == {
        "prompt_tokens": 2,
        "completion_tokens": 3,
        "total_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 2},
    }


def test_a_completion_that_asks_for_tools() -> None:
    calls = [pb.ToolCall(id="c1", name="add", arguments='{"a":1}')]
    choice = completion(response(tool_calls=calls, finish_reason=pb.FINISH_REASON_TOOL_CALLS))["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}],
    }


def test_an_empty_answer_is_an_empty_text_and_not_none() -> None:
    assert completion(response())["choices"][0]["message"]["content"] == ""


def test_the_list_of_models() -> None:
    models = pb.ListModelsResponse(models=[pb.Model(id="a", owned_by="them"), pb.Model(id="b")])
    models.models[0].created.FromSeconds(5)
    assert model_list(models) == {
        "object": "list",
        "data": [
            {"id": "a", "object": "model", "created": 5, "owned_by": "them"},
            {"id": "b", "object": "model", "created": 0, "owned_by": "shoal"},
        ],
    }

"""The JSON of OpenAI's chat completions, as far as Shoal serves it, and its translation to the agent's proto."""

from typing import Annotated, Any, Literal

import msgspec

from meshkit.errors import Reason, ShoalError, field_invalid
from services.gateway.shapes import CacheShape
from services.gateway.translate import cache_control, finish_reason, struct
from shoal.agent.v1 import agent_pb2 as pb

_ROLES = {
    "system": pb.ROLE_SYSTEM,
    "developer": pb.ROLE_SYSTEM,
    "user": pb.ROLE_USER,
    "assistant": pb.ROLE_ASSISTANT,
    "tool": pb.ROLE_TOOL,
}

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "parallel_tool_calls": (None, True),
}
"""Fields that are taken only where they change nothing: the rest would be promised and not kept."""


class Part(msgspec.Struct, frozen=True):
    """A piece of a message's content; only text is served."""

    type: str
    text: str = ""


class Function(msgspec.Struct, frozen=True):
    """`strict` is taken, since SDKs send it unasked, and not passed on: whether arguments fit is the model's doing.
    `has_side_effects` is ours, as in our own API."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    strict: bool | None = None
    has_side_effects: bool = False


class ChatTool(msgspec.Struct, frozen=True):
    type: Literal["function"]
    function: Function


class CalledFunction(msgspec.Struct, frozen=True):
    name: str
    arguments: str


class ChatToolCall(msgspec.Struct, frozen=True):
    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class ChatMessage(msgspec.Struct, frozen=True):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    tool_calls: list[ChatToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class NamedFunction(msgspec.Struct, frozen=True):
    name: str


class NamedTool(msgspec.Struct, frozen=True):
    type: Literal["function"]
    function: NamedFunction


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False
    include_obfuscation: bool | None = None


class ChatCompletionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """OpenAI's request. `user`, `metadata`, `store`, `service_tier` and their like say nothing about the answer.

    `cache` is ours; OpenAI's SDKs send it as a part of `extra_body`.
    """

    model: str
    messages: list[ChatMessage]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    tools: list[ChatTool] | None = None
    tool_choice: str | NamedTool | None = None
    parallel_tool_calls: Any = None
    n: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    logit_bias: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    response_format: Any = None
    modalities: Any = None
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    cache: CacheShape | None = None


def execute_request(body: ChatCompletionBody) -> pb.ExecuteRequest:
    """The turn that a chat completion is: the last message of the user is the task, what is before it the history.

    Raises ShoalError for what cannot be served.
    """
    _refuse_what_is_not_served(body)
    messages = [_message(message, f"messages[{index}]") for index, message in enumerate(body.messages)]
    if not messages:
        raise field_invalid("messages", "hold at least one message")
    task = messages.pop().content if messages[-1].role == pb.ROLE_USER else ""
    if not task and not (messages and messages[-1].role == pb.ROLE_TOOL):
        raise field_invalid("messages", "end with a message of the user or the result of a tool")
    return pb.ExecuteRequest(
        task=task,
        history=messages,
        model=body.model,
        sampling=pb.SamplingParameters(
            max_tokens=body.max_completion_tokens or body.max_tokens,
            temperature=body.temperature,
            top_p=body.top_p,
            stop=[body.stop] if isinstance(body.stop, str) else body.stop,
            seed=body.seed,
        ),
        tools=[
            pb.Tool(
                name=tool.function.name,
                description=tool.function.description,
                parameters=struct("tools", tool.function.parameters),
                has_side_effects=tool.function.has_side_effects,
            )
            for tool in body.tools or ()
        ],
        tool_choice=_tool_choice(body.tool_choice),
        cache=cache_control(body.cache or CacheShape()),
    )


def completion(response: pb.ExecuteResponse) -> dict[str, Any]:
    """A whole answer in OpenAI's shape."""
    content = response.output or (None if response.tool_calls else "")
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if response.tool_calls:
        message["tool_calls"] = [_tool_call(call) for call in response.tool_calls]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(response.finish_reason),
    }
    return {
        "id": f"chatcmpl-{response.id}",
        "object": "chat.completion",
        "created": response.created.seconds,
        "model": response.model,
        "choices": [choice],
        "usage": usage(response.usage),
    }


def model_list(models: pb.ListModelsResponse) -> dict[str, Any]:
    return {"object": "list", "data": [model(one) for one in models.models]}


def model(model: pb.Model) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": model.created.seconds, "owned_by": model.owned_by or "shoal"}


def usage(usage: pb.Usage) -> dict[str, Any]:
    """What a turn took; the whole prompt is said to be cached where the model was not asked."""
    told: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.from_cache:
        told["prompt_tokens_details"] = {"cached_tokens": usage.input_tokens}
    return told


def _refuse_what_is_not_served(body: ChatCompletionBody) -> None:
    for field, neutral in _NEUTRAL.items():
        if getattr(body, field) not in neutral:
            raise ShoalError(
                Reason.FIELD_INVALID, f"'{field}' is not supported with this value; leave it out.", field=field
            )


def _message(message: ChatMessage, field: str) -> pb.Message:
    return pb.Message(
        role=_ROLES[message.role],
        content=_content(message.content, field),
        tool_calls=[
            pb.ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in message.tool_calls or ()
        ],
        tool_call_id=message.tool_call_id or "",
    )


def _content(content: str | list[Part] | None, field: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if any(part.type != "text" for part in content):
        raise field_invalid(f"{field}.content", "hold text only")
    return "".join(part.text for part in content)


def _tool_choice(choice: str | NamedTool | None) -> str:
    return choice.function.name if isinstance(choice, NamedTool) else choice or ""


def _tool_call(call: pb.ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}

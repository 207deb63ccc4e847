"""What may be looked up and what may be kept."""

from collections.abc import Iterable, Sequence

from services.agent.conversation import (
    AnswerEvent,
    Completed,
    Delta,
    FinishReason,
    Message,
    Role,
    Tool,
    ToolCall,
    ToolResult,
)
from services.agent.request import CacheMode, TurnRequest
from services.agent.time_words import TimeWords

_WHOLE = (FinishReason.STOP, FinishReason.TOOL_CALLS)


def may_use_cache(request: TurnRequest, *, history: Sequence[Message], time_words: TimeWords) -> bool:
    """Whether the answer to this request may come from the cache and go into it. `history` is what came before."""
    return (
        request.cache.mode is not CacheMode.BYPASS
        and not time_words.are_in(_question(request, history))
        and not had_side_effects(history, request.tools)
    )


def may_be_kept(events: Sequence[AnswerEvent], tools: Iterable[Tool]) -> bool:
    """Whether an answer is whole, neither cut off nor withheld, says something, and came about without side effects.

    `tools` are those that the answer may call.
    """
    is_whole = bool(events) and isinstance(events[-1], Completed) and events[-1].finish_reason in _WHOLE
    return (
        is_whole
        and any(map(_says_something, events))
        and not any(_has_side_effects(event, _risky(tools)) for event in events)
    )


def had_side_effects(messages: Iterable[Message], tools: Iterable[Tool]) -> bool:
    """Whether one of these tools was called in the conversation that changes something outside."""
    risky = _risky(tools)
    return any(call.name in risky for message in messages for call in message.tool_calls)


def _question(request: TurnRequest, history: Sequence[Message]) -> str:
    """What is asked: the task, or what a person said last if the result of a tool continues that."""
    said = (message.content for message in reversed(history) if message.role is Role.USER)
    return request.task or next(said, "")


def _risky(tools: Iterable[Tool]) -> set[str]:
    return {tool.name for tool in tools if tool.has_side_effects}


def _says_something(event: AnswerEvent) -> bool:
    """A model that says nothing at all may do better when it is asked again."""
    return isinstance(event, ToolCall) or (isinstance(event, Delta) and event.text != "")


def _has_side_effects(event: AnswerEvent, risky: set[str]) -> bool:
    match event:
        case ToolResult():
            return event.has_side_effects
        case ToolCall():
            return event.name in risky
        case _:
            return False

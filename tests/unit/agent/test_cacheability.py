"""Which turns meet the cache, and which answers are kept."""

import pytest

from services.agent.cacheability import had_side_effects, may_be_kept, may_use_cache
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
    Usage,
)
from services.agent.request import CacheControl, CacheMode, TurnRequest
from services.agent.time_words import TimeWords

STOP = Completed(FinishReason.STOP)
SEND = Tool("send", "Sends a letter.", {}, has_side_effects=True)
READ = Tool("read", "Reads a letter.", {})
SENT = ToolCall("call_1", "send", "{}")
WAS_READ = ToolCall("call_2", "read", "{}")


def may_use(request: TurnRequest, *history: Message) -> bool:
    return may_use_cache(request, history=history, time_words=TimeWords(["now"]))


def test_what_asks_about_now_does_not_meet_the_cache() -> None:
    assert may_use(TurnRequest(task="What is known?"))
    assert not may_use(TurnRequest(task="What is known now?"))


@pytest.mark.parametrize("mode", CacheMode)
def test_only_a_bypass_keeps_a_turn_from_the_cache(mode: CacheMode) -> None:
    assert may_use(TurnRequest(task="Add.", cache=CacheControl(mode=mode))) == (mode is not CacheMode.BYPASS)


def test_where_the_result_of_a_tool_continues_the_last_words_of_the_person_count() -> None:
    asked = Message(Role.ASSISTANT, "I look it up now.", tool_calls=(WAS_READ,))
    result = Message(Role.TOOL, "It rains now.", tool_call_id="call_2")
    earlier = Message(Role.USER, "What is it now?")
    assert not may_use(TurnRequest(task=""), earlier, asked, result)
    assert may_use(TurnRequest(task=""), earlier, Message(Role.USER, "What was it?"), asked, result)
    assert may_use(TurnRequest(task="What was it?"), earlier)
    assert may_use(TurnRequest(task=""), asked, result)


def test_a_conversation_in_which_a_tool_with_side_effects_was_called_does_not_meet_the_cache() -> None:
    request = TurnRequest(task="Go on.", tools=(READ, SEND))
    assert may_use(request, Message(Role.ASSISTANT, "", tool_calls=(WAS_READ,)))
    assert not may_use(request, Message(Role.ASSISTANT, "", tool_calls=(WAS_READ, SENT)), Message(Role.USER, "Well?"))
    assert not had_side_effects([Message(Role.ASSISTANT, "", tool_calls=(SENT,))], [READ])


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        (FinishReason.STOP, True),
        (FinishReason.TOOL_CALLS, True),
        (FinishReason.LENGTH, False),
        (FinishReason.CONTENT_FILTER, False),
    ],
)
def test_whole_answers_are_kept_and_others_not(reason: FinishReason, kept: bool) -> None:
    assert may_be_kept([Delta("a"), Completed(reason)], []) is kept


@pytest.mark.parametrize(
    "said", [[], [Delta("")], [ToolResult("1", "search", "", has_side_effects=False)], [Usage(1, 0)]]
)
def test_an_answer_that_says_nothing_is_not_kept(said: list[AnswerEvent]) -> None:
    assert not may_be_kept([*said, STOP], [])
    assert may_be_kept([*said, Delta(" "), STOP], [])
    assert may_be_kept([*said, WAS_READ, Completed(FinishReason.TOOL_CALLS)], [])


@pytest.mark.parametrize("events", [[], [Delta("a")], [STOP, Delta("a")]])
def test_an_answer_without_its_end_is_not_kept(events: list[AnswerEvent]) -> None:
    assert not may_be_kept(events, [])


@pytest.mark.parametrize(
    ("event", "kept"),
    [
        (WAS_READ, True),
        (SENT, False),
        (ToolResult("1", "search", "found", has_side_effects=False), True),
        (ToolResult("1", "search", "found", has_side_effects=True), False),
        (ToolResult("1", "search", "found"), False),
    ],
)
def test_answers_that_changed_something_outside_are_not_kept(event: AnswerEvent, kept: bool) -> None:
    assert may_be_kept([Delta("a"), event, STOP], [READ, SEND]) is kept

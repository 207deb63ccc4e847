"""How many tokens a turn may use, and how many it has used."""

import msgspec
import pytest

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
from services.agent.metering import MOST_TOKENS, Meter, most_tokens, prompt_tokens
from services.agent.ports import AgentTurn

TURN = AgentTurn(
    model="small",
    messages=(Message(Role.SYSTEM, "x" * 5), Message(Role.USER, "y" * 4)),
    sampling=Sampling(),
    tools=(),
    tool_choice="",
    tenant="acme",
)


def metered(*events: AnswerEvent) -> Meter:
    """A turn that has begun, and these events of its answer."""
    meter = Meter(TURN)
    meter.begin()
    for event in events:
        meter.count(event)
    return meter


SHOWN = 3 + 2 * 8
"""Tokens of that prompt, by estimate: 9 bytes and two messages."""


def test_three_bytes_are_a_token_and_every_message_is_eight_more() -> None:
    assert prompt_tokens(TURN) == SHOWN
    longer = msgspec.structs.replace(TURN, messages=(Message(Role.SYSTEM, "x" * 6), TURN.messages[1]))
    assert prompt_tokens(longer) == SHOWN + 1, "a part of a token is a whole one"


@pytest.mark.parametrize(("text", "tokens"), [("a" * 60, 20), ("日本語" * 20, 60), ("\N{GRINNING FACE}" * 3, 4)])
def test_characters_of_other_scripts_count_by_their_bytes(text: str, tokens: int) -> None:
    shown = msgspec.structs.replace(TURN, messages=(Message(Role.USER, text),))
    assert prompt_tokens(shown) == tokens + 8
    assert metered(Delta(text)).used() == SHOWN + tokens


def test_tools_and_wishes_for_them_are_part_of_the_prompt() -> None:
    wish = Message(Role.ASSISTANT, "", tool_calls=(ToolCall("call_1", "add", '{"a":1}'),))
    tool = Tool("add", "Adds.", {"type": "object"})
    shown = msgspec.structs.replace(TURN, messages=(wish,), tools=(tool,))
    assert prompt_tokens(shown) == -(-(3 + 7 + 3 + 5 + 17) // 3) + 8


@pytest.mark.parametrize(
    ("max_tokens", "most"), [(None, SHOWN + 1000), (1, SHOWN + 1), (20, SHOWN + 20), (2**32 - 1, MOST_TOKENS)]
)
def test_a_turn_may_use_its_prompt_and_the_longest_answer(max_tokens: int | None, most: int) -> None:
    turn = msgspec.structs.replace(TURN, sampling=Sampling(max_tokens=max_tokens))
    assert most_tokens(turn, answer_tokens=1000) == most


def test_a_turn_that_did_not_begin_has_used_nothing() -> None:
    assert Meter(TURN).used() == 0


def test_until_the_model_tells_the_prompt_and_what_was_said_count() -> None:
    assert metered().used() == SHOWN
    assert metered(Delta("Hello")).used() == SHOWN + 2
    assert metered(Delta("Hel"), ToolCall("call_1", "add", "{}")).used() == SHOWN + 3


def test_what_the_model_tells_takes_the_place_of_the_estimate() -> None:
    assert metered(Delta("Hello"), Usage(7, 11), Completed(FinishReason.STOP)).used() == 18


def test_a_model_that_tells_of_no_tokens_at_all_is_not_free() -> None:
    assert metered(Delta("Hello"), Usage(0, 0)).used() == SHOWN + 2


def test_an_answer_for_which_no_model_was_asked_is_free() -> None:
    assert metered(Delta("Hello"), Usage(7, 11, from_cache=True), Completed(FinishReason.STOP)).used() == 0


def test_beside_an_output_from_the_cache_what_a_model_was_asked_for_counts() -> None:
    assert metered(Delta("Hello"), Usage(7, 11, from_cache=True), Usage(1, 2)).used() == 3


def test_a_model_that_tells_of_too_many_is_not_believed() -> None:
    assert metered(Usage(2**63, 2**63)).used() == MOST_TOKENS


@pytest.mark.parametrize(
    ("reason", "said", "used"),
    [
        (Reason.MODEL_UNAVAILABLE, "", 0),
        (Reason.MODEL_REFUSED, "", 0),
        (Reason.MODEL_TIMEOUT, "", SHOWN),
        (Reason.MODEL_UNAVAILABLE, "Hello", SHOWN + 2),
        (Reason.MODEL_TIMEOUT, "Hello", SHOWN + 2),
    ],
)
def test_a_model_that_was_not_reached_or_refused_has_used_nothing(reason: Reason, said: str, used: int) -> None:
    meter = metered(*([Delta(said)] if said else []))
    meter.fail(ShoalError(reason, "No."))
    assert meter.used() == used

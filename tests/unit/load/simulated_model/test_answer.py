"""Answers: the words of the prompt, counted and cut off."""

from hypothesis import given
from hypothesis import strategies as st

from load.simulated_model.answer import Answer, ToolCall, call_tools, repeat_words


def test_the_answer_repeats_the_words_of_the_prompt_in_a_cycle() -> None:
    assert repeat_words("one  two\nthree", 5, None) == Answer(("one", " two", " three", " one", " two"), "stop")


def test_the_joined_tokens_are_the_text() -> None:
    assert repeat_words("one two", 3, None).text == "one two one"


def test_a_limit_below_the_length_cuts_the_answer_off() -> None:
    assert repeat_words("one two", 3, 2) == Answer(("one", " two"), "length")


def test_a_limit_of_just_the_length_cuts_nothing_off() -> None:
    assert repeat_words("one two", 2, 2).finish_reason == "stop"


def test_a_prompt_without_words_still_gets_an_answer() -> None:
    assert repeat_words(" ", 3, None).text == "(no words) (no"


def test_an_answer_of_no_tokens_is_empty() -> None:
    assert repeat_words("one", 0, None) == Answer((), "stop")


def test_a_tool_call_counts_its_name_and_the_pieces_of_its_arguments() -> None:
    answer = call_tools((ToolCall("f", '{"city":"Bonn"}'),))
    assert answer.finish_reason == "tool_calls"
    assert answer.tool_calls[0].pieces() == ['{"city":', '"Bonn"}']
    assert answer.token_count == 3


@given(st.text(), st.integers(0, 60), st.none() | st.integers(1, 60))
def test_an_answer_has_as_many_words_as_asked_for_and_allowed(text: str, tokens: int, limit: int | None) -> None:
    answer = repeat_words(text, tokens, limit)
    assert len(answer.text.split()) == answer.token_count == min(tokens, limit or tokens)

"""Directives in a prompt: what they order, and how bad ones are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load.simulated_model.answer import ToolCall
from load.simulated_model.directives import DirectiveError, Directives, parse_directives
from load.simulated_model.faults import Cut, Garble, Hang, Refuse, Stall


@pytest.mark.parametrize(
    ("prompt", "directives"),
    [
        ("[[status=503]]", Directives(fault=Refuse(503))),
        ("[[hang]]", Directives(fault=Hang())),
        ("[[hang_after=3]]", Directives(fault=Stall(3))),
        ("[[break_after=0]]", Directives(fault=Cut(0))),
        ("[[garbage]]", Directives(fault=Garble())),
        ("[[empty]]", Directives(tokens=0)),
        ("[[tokens=50]]", Directives(tokens=50)),
        ("[[first_token=0]]", Directives(first_token=0.0)),
        ("[[first_token=0.3]]", Directives(first_token=0.3)),
        ("[[tokens_per_second=20]]", Directives(tokens_per_second=20.0)),
        ("[[tool=now]]", Directives(tool_calls=(ToolCall("now", "{}"),))),
        ('[[tool=add {"a": 1}]]', Directives(tool_calls=(ToolCall("add", '{"a": 1}'),))),
    ],
)
def test_each_directive_orders_its_effect(prompt: str, directives: Directives) -> None:
    assert parse_directives(prompt) == (directives, "")


def test_directives_are_taken_out_of_the_prompt_and_the_words_around_them_stay() -> None:
    directives, rest = parse_directives("tell me [[tokens=5]] all [[first_token=1]]")
    assert directives == Directives(tokens=5, first_token=1.0)
    assert rest.split() == ["tell", "me", "all"]


def test_the_last_directive_of_a_kind_wins() -> None:
    assert parse_directives("[[status=500]] [[hang]] [[tokens=1]] [[tokens=2]]")[0] == Directives(
        fault=Hang(), tokens=2
    )


def test_several_tool_directives_are_parallel_calls_in_their_order() -> None:
    directives, _ = parse_directives('[[tool=a {"x":1}]] and [[tool=b]]')
    assert directives.tool_calls == (ToolCall("a", '{"x":1}'), ToolCall("b", "{}"))


def test_the_arguments_of_a_tool_may_hold_closing_brackets() -> None:
    directives, rest = parse_directives('[[tool=plot {"m":[[1],[2]],"s":"]]"} ]] please')
    assert directives.tool_calls == (ToolCall("plot", '{"m":[[1],[2]],"s":"]]"}'),)
    assert rest == "please"


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        ("[[statos=500]]", r"no directive \[\[statos=500\]\]; known are .*\[\[status=...\]\]"),
        ("[[status]]", "no directive"),
        ("[[hang=1]]", "no directive"),
        ("[[status=200]]", "from 400 to 599"),
        ("[[status=abc]]", "whole number"),
        ("[[tokens=-1]]", "whole number"),
        ("[[tokens=100001]]", "from 0 to 100000"),
        ("[[first_token=nan]]", "number from 0 to 3600"),
        ("[[first_token=1e9]]", "number from 0 to 3600"),
        ("[[tokens_per_second=0]]", "number from 0.1"),
        ("[[status=500]", "not closed"),
        ('[[tool=f {"a"]]', "not JSON"),
        ('[[tool=f {"a":1}', "not closed"),
    ],
)
def test_a_bad_directive_is_refused_with_the_reason(prompt: str, complaint: str) -> None:
    with pytest.raises(DirectiveError, match=complaint):
        parse_directives(prompt)


@pytest.mark.parametrize("prompt", ["a [b] c", "m[[0]] = [[1, 2], [3, 4]]", "[[Wiki Page]]", "[[", "]]"])
def test_brackets_that_are_no_directive_stay_in_the_prompt(prompt: str) -> None:
    assert parse_directives(prompt) == (Directives(), prompt)


@given(st.text(alphabet='[]={}"abgnhu01 ,:_', max_size=60))
def test_any_prompt_is_read_or_refused_and_never_grows(prompt: str) -> None:
    try:
        _, rest = parse_directives(prompt)
    except DirectiveError:
        return
    assert len(rest) <= len(prompt)

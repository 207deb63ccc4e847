"""What a caller is told to send instead."""

from typing import Any

import msgspec
import pytest

from services.gateway.openai_shapes import ChatCompletionBody
from services.gateway.shapes import TaskBody, TaskQuery
from services.gateway.validation import invalid

MODES = "The field 'cache.mode' must be bypass, default, only or refresh."


def told(kind: type, given: dict[str, Any], *, strict: bool = True) -> str:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(given, kind, strict=strict)
    return invalid(refused.value, kind).message


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("cache.mode", "bad", MODES),
        ("cache.public", "yes", "The field 'cache.public' must be true or false."),
        ("cache.ttl_seconds", "abc", "The field 'cache.ttl_seconds' must be a whole number."),
        ("cache.ttl_seconds", "0", "The field 'cache.ttl_seconds' must be a whole number >= 1."),
        ("temperature", "hot", "The field 'temperature' must be a number."),
        ("temperature", "3", "The field 'temperature' must be a number <= 2.0."),
    ],
)
def test_a_query_is_told_what_is_allowed(name: str, value: str, expected: str) -> None:
    assert told(TaskQuery, {"task": "a", name: value}, strict=False) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"cache": {"mode": "bad"}}, MODES),
        ({"cache": {"mode": 5}}, "The field 'cache.mode' must be text."),
        ({"cache": {"public": "yes"}}, "The field 'cache.public' must be true or false."),
        ({"cache": {"ttl_seconds": "abc"}}, "The field 'cache.ttl_seconds' must be a whole number."),
        ({"cache": {"tags": ["a"] * 17}}, "The field 'cache.tags' must be a list of length <= 16."),
        ({"cache": 5}, "The field 'cache' must be an object."),
    ],
)
def test_a_body_is_told_what_is_allowed(given: dict[str, Any], expected: str) -> None:
    assert told(TaskBody, {"task": "a", **given}) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"cache": {"mode": "bad"}}, MODES),
        ({"stop": 5}, "The field 'stop' must be text or a list."),
        (
            {"messages": [{"role": "user"}, {"role": "king"}]},
            "The field 'messages[1].role' must be assistant, developer, system, tool or user.",
        ),
        (
            {"tools": [{"type": "web_search", "function": {"name": "f"}}]},
            "The field 'tools[0].type' must be function.",
        ),
    ],
)
def test_a_chat_completion_is_told_what_is_allowed(given: dict[str, Any], expected: str) -> None:
    assert told(ChatCompletionBody, {"model": "m", "messages": [], **given}) == expected

"""A file of tasks, one a line, and what is asked of the front door for each."""

import io
import json
from typing import Any

import pytest

from launcher.cache.warming.tasks import LINE_MAX_BYTES, BadLine, Task, Wishes, count_lines, read_tasks, task_of

WISHES = Wishes(ttl_seconds=86_400, tags=("faq",))


def body_of(line: Any, wishes: Wishes = WISHES) -> dict[str, Any]:
    task = task_of(1, json.dumps(line).encode(), wishes)
    assert isinstance(task, Task), task
    return dict(task.body)


def reason_of(text: bytes) -> str:
    line = task_of(1, text, WISHES)
    assert isinstance(line, BadLine)
    return line.reason


def digest_of(line: Any, wishes: Wishes = WISHES, destination: str = "here") -> str:
    task = task_of(1, json.dumps(line).encode(), wishes)
    assert isinstance(task, Task)
    return task.digest(destination)


def test_a_string_is_a_task_and_an_object_is_a_body() -> None:
    cache = {"mode": "default", "ttl_seconds": 86_400, "tags": ["faq"], "public": False}
    assert body_of("Name a fish.") == {"task": "Name a fish.", "stream": False, "cache": cache}
    assert body_of({"task": "x", "max_tokens": 5})["max_tokens"] == 5


def test_what_a_line_says_of_the_cache_holds_for_it() -> None:
    own = {"ttl_seconds": 60, "tags": ["own", "faq"], "public": True, "mode": "refresh"}
    assert body_of({"task": "x", "cache": own})["cache"] == {
        "mode": "refresh", "ttl_seconds": 60, "tags": ["own", "faq"], "public": True,
    }  # fmt: skip


def test_all_can_be_computed_anew() -> None:
    assert body_of("x", Wishes(ttl_seconds=5, refresh=True))["cache"]["mode"] == "refresh"


def test_a_stream_is_asked_for_as_a_plain_answer() -> None:
    assert body_of({"task": "x", "stream": True})["stream"] is False


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "is no JSON"),
        (b"nonsense", "is no JSON"),
        (b'"\xff"', "is no JSON"),
        (b'{"task": NaN}', "is no JSON"),
        (b'{"context": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is no JSON"),
        (b"7", "is neither a JSON string, the task, nor a JSON object"),
        (b"null", "is neither a JSON string, the task, nor a JSON object"),
        (b'["x"]', "is neither a JSON string, the task, nor a JSON object"),
        (b'{"task": "x", "cache": "no"}', "within cache: Expected `object`"),
        (b'{"task": "x", "cache": {"mode": "bypass"}}', "cache.mode must be default or refresh here, not 'bypass'"),
        (b'{"task": "x", "cache": {"mode": 7}}', "within cache: Expected `str`, got `int` - at `$.mode`"),
        (b'{"task": "x", "cache": {"tags": "faq"}}', "within cache: Expected `array`, got `str` - at `$.tags`"),
        (b'{"task": "x", "cache": {"ttl": 5}}', "within cache: Object contains unknown field `ttl`"),
        (b'{"task": "x", "session_id": "new"}', "session"),
    ],
)
def test_a_line_that_cannot_be_sent_says_why(text: bytes, reason: str) -> None:
    assert reason in reason_of(text)


def test_that_a_line_is_no_json_is_said_once() -> None:
    assert reason_of(b"nonsense") == "is no JSON: invalid character (byte 4)"


def test_requests_that_are_the_same_have_the_same_digest_whatever_the_order_of_their_fields() -> None:
    assert digest_of({"task": "x", "context": {"a": 1, "b": 2}}) == digest_of(
        {"context": {"b": 2, "a": 1}, "task": "x"}
    )
    assert digest_of("x") == digest_of({"task": "x"})


@pytest.mark.parametrize(
    "other",
    [
        {"line": {"task": "x", "seed": 1}},
        {"line": "y"},
        {"line": "x", "wishes": Wishes(ttl_seconds=5)},
        {"line": "x", "wishes": Wishes(ttl_seconds=86_400, tags=("other",))},
        {"line": "x", "wishes": Wishes(ttl_seconds=86_400, tags=("faq",), refresh=True)},
        {"line": "x", "destination": "elsewhere"},
    ],
)
def test_whatever_makes_it_another_request_makes_it_another_digest(other: dict[str, Any]) -> None:
    assert digest_of(**other) != digest_of("x")


def test_lines_keep_their_numbers_and_empty_ones_are_passed_over() -> None:
    file = io.BytesIO(b'\xef\xbb\xbf"first"\n\n  \r\n"fourth"\r\nbad\n"last, without an end"')
    assert count_lines(file) == 4
    lines = list(read_tasks(file, WISHES))
    assert [line.line for line in lines] == [1, 4, 5, 6]
    assert [isinstance(line, Task) for line in lines] == [True, True, False, True]


def test_a_huge_line_is_refused_and_the_next_one_is_read() -> None:
    longest = b'"' + b"x" * (LINE_MAX_BYTES - 3) + b'"\n'
    file = io.BytesIO(longest + b"y" * (3 * LINE_MAX_BYTES) + b'\n"after"\n' + b"z" * (LINE_MAX_BYTES + 1))
    assert count_lines(file) == 4
    first, second, third, fourth = read_tasks(file, WISHES)
    assert isinstance(first, Task)
    assert second == BadLine(2, f"is longer than {LINE_MAX_BYTES:,} bytes")
    assert isinstance(third, Task)
    assert isinstance(fourth, BadLine)

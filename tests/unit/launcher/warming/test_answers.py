"""What to make of an answer of the front door to a line."""

import json
from typing import Any

import pytest

from launcher.cache.warming.answers import KeyRefused, NotNow, Outcome, Reply, Result, TooOld, Usage, Verdict, judge
from launcher.cache.warming.tasks import Task, Wishes, task_of

USAGE = {"input_tokens": 10, "output_tokens": 20, "cost_usd": 0.5}


def verdict(reply: Reply, *tags: str) -> Verdict:
    task = task_of(1, b'"x"', Wishes(ttl_seconds=1000, tags=tags))
    assert isinstance(task, Task)
    return judge(reply, task)


def reply(cache: dict[str, Any], *, output: str = "Yes.", finish_reason: str = "stop", **said: Any) -> Reply:
    answer = {"output": output, "finish_reason": finish_reason, "usage": USAGE, "cache": cache, **said}
    return Reply(200, json.dumps(answer).encode())


def answered(status: str, **cache: Any) -> Verdict:
    return verdict(reply({"status": status, **cache}))


def refused(status: int, **problem: Any) -> Verdict:
    body = {"error": "A sentence.", "code": "C", "reason": "R", "field": "", "request_id": "", **problem}
    return verdict(Reply(status, json.dumps(body).encode(), retry_after="7"))


def test_what_was_computed_and_kept_counts_with_what_it_took() -> None:
    result = answered("miss", level=None, age_seconds=None, key="k", ttl_seconds=950.0, stale=False)
    assert result == Result(Outcome.COMPUTED, usage=Usage(10, 20, 0.5))


def test_what_is_there_for_long_enough_took_nothing() -> None:
    assert answered("hit", age_seconds=450.0, ttl_seconds=950.0) == Result(Outcome.PRESENT)


def test_what_is_there_already_keeps_its_tags_and_that_is_said_to_who_wished_others() -> None:
    hit = reply({"status": "hit", "age_seconds": 1.0, "ttl_seconds": 950.0})
    assert verdict(hit, "faq") == Result(Outcome.PRESENT_WITH_ITS_TAGS)


@pytest.mark.parametrize(
    "cache", [{"age_seconds": 451.0, "ttl_seconds": 950.0}, {"age_seconds": 5, "ttl_seconds": 4}, {}]
)
def test_what_is_there_for_less_than_half_the_time_is_too_old(cache: dict[str, Any]) -> None:
    assert answered("hit", **cache) == TooOld()


@pytest.mark.parametrize(("status", "ttl"), [("bypass", None), ("miss", None), ("miss", 0)])
def test_what_was_not_kept_is_said_with_what_it_took(status: str, ttl: float | None) -> None:
    result = answered(status, ttl_seconds=ttl)
    assert isinstance(result, Result)
    assert (result.outcome, result.usage) == (Outcome.NOT_CACHEABLE, Usage(10, 20, 0.5))
    assert result.reason


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"finish_reason": "length"}, "cut off at the limit of its tokens"),
        ({"finish_reason": "content_filter"}, "withheld"),
        ({"output": ""}, "it is empty"),
        ({"output": "", "tool_calls": [{"id": "1", "name": "look", "arguments": "{}"}]}, "too large, for example"),
        ({}, "too large, for example"),
    ],
)
def test_why_an_answer_was_not_kept_is_said_if_the_answer_tells(said: dict[str, Any], why: str) -> None:
    result = verdict(reply({"status": "miss"}, **said))
    assert isinstance(result, Result)
    assert why in result.reason


@pytest.mark.parametrize("status", [429, 503])
def test_not_now_is_with_the_time_to_wait_from_the_body_before_the_header(status: int) -> None:
    assert refused(status, retry_after_seconds=0.25) == NotNow(f"{status} R: A sentence.", 0.25)
    assert refused(status) == NotNow(f"{status} R: A sentence.", 7.0)
    assert verdict(Reply(status, b"busy", "soon")) == NotNow(f"{status} UNKNOWN: busy", None)


def test_a_refused_key_is_for_all_lines() -> None:
    assert refused(401) == KeyRefused("401 R: A sentence.")


@pytest.mark.parametrize("status", [308, 400, 403, 404, 413, 500, 504])
def test_other_refusals_are_for_this_line(status: int) -> None:
    assert refused(status) == Result(Outcome.FAILED, f"{status} R: A sentence.")


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"cache": {"status": 5}, "usage": {}}', b"\xff"])
def test_an_answer_of_another_program_is_a_failure(body: bytes) -> None:
    result = verdict(Reply(200, body))
    assert isinstance(result, Result)
    assert result.outcome is Outcome.FAILED
    assert "not by Shoal" in result.reason


def test_an_error_page_is_told_on_one_line() -> None:
    assert verdict(Reply(502, b"<html>\n <b>bad\n")) == Result(Outcome.FAILED, "502 UNKNOWN: <html> <b>bad")
    assert verdict(Reply(502, b"")) == Result(Outcome.FAILED, "502 UNKNOWN: no explanation")

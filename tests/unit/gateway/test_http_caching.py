"""What caches on the way are told of an answer, and when an answer need not be sent again."""

from collections.abc import Callable

import pytest

from services.gateway import http_caching
from shoal.agent.v1 import agent_pb2 as pb

HIT = pb.CacheReport(status=pb.CACHE_STATUS_HIT, level="l1", age_seconds=12.9, ttl_seconds=3599.9, stale_seconds=60)
VARY = "X-API-Key, Authorization"


def answer(cache: pb.CacheReport = HIT) -> pb.ExecuteResponse:
    response = pb.ExecuteResponse(
        id="turn_1",
        output="Hällo",
        finish_reason=pb.FINISH_REASON_STOP,
        model="m",
        why="the default model",
        tool_calls=[pb.ToolCall(id="c", name="f", arguments="{}")],
        cache=cache,
        usage=pb.Usage(input_tokens=1, output_tokens=2, cost_usd=0.5),
        replica="agent-1",
    )
    response.created.FromSeconds(5)
    return response


def changed(change: Callable[[pb.ExecuteResponse], object]) -> pb.ExecuteResponse:
    response = answer()
    change(response)
    assert response != answer()
    return response


SAME: dict[str, Callable[[pb.ExecuteResponse], object]] = {
    "id": lambda response: setattr(response, "id", "turn_2"),
    "why": lambda response: setattr(response, "why", "you asked for it"),
    "replica": lambda response: setattr(response, "replica", "agent-2"),
    "created": lambda response: response.created.FromSeconds(6),
    "age": lambda response: setattr(response.cache, "age_seconds", 13),
    "from_cache": lambda response: setattr(response.usage, "from_cache", True),
    "level": lambda response: setattr(response.cache, "level", "l2"),
    "miss": lambda response: response.cache.CopyFrom(pb.CacheReport(status=pb.CACHE_STATUS_MISS, ttl_seconds=60)),
}
OTHER: dict[str, Callable[[pb.ExecuteResponse], object]] = {
    "output": lambda response: setattr(response, "output", "Hallo"),
    "finish_reason": lambda response: setattr(response, "finish_reason", pb.FINISH_REASON_LENGTH),
    "model": lambda response: setattr(response, "model", "n"),
    "tool_calls": lambda response: response.tool_calls.add(id="d", name="f", arguments="{}"),
    "arguments": lambda response: setattr(response.tool_calls[0], "arguments", "[]"),
    "input_tokens": lambda response: setattr(response.usage, "input_tokens", 2),
    "cost_usd": lambda response: setattr(response.usage, "cost_usd", 0.25),
}


@pytest.mark.parametrize("change", SAME)
def test_an_etag_stays_the_same_whoever_gives_the_answer_and_when(change: str) -> None:
    assert http_caching.etag(changed(SAME[change])) == http_caching.etag(answer())


@pytest.mark.parametrize("change", OTHER)
def test_an_etag_changes_with_what_the_answer_says(change: str) -> None:
    assert http_caching.etag(changed(OTHER[change])) != http_caching.etag(answer())


def test_an_etag_is_weak_and_has_the_form_of_the_standard() -> None:
    etag = http_caching.etag(answer())
    assert etag.startswith('W/"')
    assert etag.endswith('"')
    assert etag[3:-1].replace("-", "").replace("_", "").isalnum()


def headers(cache: pb.CacheReport = HIT, *, session_id: str = "", user_id: str = "") -> dict[str, str]:
    return http_caching.headers(pb.ExecuteRequest(task="a", session_id=session_id, user_id=user_id), answer(cache))


def test_an_answer_that_is_kept_says_how_long_and_for_whom() -> None:
    assert headers() == {
        "etag": http_caching.etag(answer()),
        "cache-control": "private, max-age=3599, stale-while-revalidate=60",
        "age": "12",
        "vary": VARY,
    }


MATRIX: dict[str, tuple[pb.CacheReport, dict[str, str], str]] = {
    "a miss": (pb.CacheReport(ttl_seconds=60), {}, "private, max-age=60"),
    "public": (pb.CacheReport(ttl_seconds=60, public=True), {}, "public, max-age=60"),
    "public and stale": (
        pb.CacheReport(ttl_seconds=60, stale_seconds=30.9, age_seconds=70, stale=True, public=True),
        {},
        "public, max-age=60, stale-while-revalidate=30",
    ),
    "a part of a second": (pb.CacheReport(ttl_seconds=0.5), {}, "private, max-age=0"),
    "of a user": (pb.CacheReport(ttl_seconds=60), {"user_id": "u"}, "private, no-cache"),
    "of a user, public": (pb.CacheReport(ttl_seconds=60, public=True), {"user_id": "u"}, "private, no-cache"),
}


@pytest.mark.parametrize("case", MATRIX)
def test_what_is_said_of_an_answer_that_may_be_kept(case: str) -> None:
    cache, turn, expected = MATRIX[case]
    told = headers(cache, **turn)
    assert told["cache-control"] == expected
    assert set(told) == {"etag", "cache-control", "age", "vary"}
    assert told["age"] == str(int(cache.age_seconds))


@pytest.mark.parametrize(
    ("cache", "turn"),
    [
        (pb.CacheReport(status=pb.CACHE_STATUS_BYPASS), {}),
        (pb.CacheReport(status=pb.CACHE_STATUS_MISS, public=True), {}),
        (pb.CacheReport(status=pb.CACHE_STATUS_MISS), {"user_id": "u"}),
        (HIT, {"session_id": "s"}),
        (pb.CacheReport(ttl_seconds=60, public=True), {"session_id": "new", "user_id": "u"}),
    ],
)
def test_what_shoal_does_not_keep_and_turns_of_a_session_nobody_may_keep(
    cache: pb.CacheReport, turn: dict[str, str]
) -> None:
    assert headers(cache, **turn) == {"cache-control": "no-store"}


@pytest.mark.parametrize(
    ("lines", "held"),
    [
        ([], False),
        ([""], False),
        (['W/"abc"'], True),
        (['"abc"'], True),
        (['"x", W/"abc" , "y"'], True),
        (['"x"', '"abc"'], True),
        (['"x,abc", "a b"'], False),
        (['"a,b", "abc"'], True),
        (["*"], True),
        ([" * "], True),
        (['"*"'], False),
        (["abc"], False),
        (['"ABC"'], False),
        (['"abc'], False),
        (['"abcd"', '"ab"', '""'], False),
        (['"\xff"'], False),
    ],
)
def test_an_answer_that_is_held_is_known_by_weak_comparison(lines: list[str], held: bool) -> None:
    assert http_caching.is_held(lines, 'W/"abc"') is held

"""Which turns meet the cache."""

import pytest

from services.agent.cacheability import may_be_kept, may_use_cache
from services.agent.conversation import Completed, FinishReason
from services.agent.request import CacheMode, TurnRequest


@pytest.mark.parametrize(
    "task",
    [
        "What time is it now?",
        "NOW",
        "Today's news",
        "the latest, please",
        "current\nweather",
        "is it\u2014now\u2014on?",
    ],
)
def test_what_depends_on_the_moment_is_not_cached(task: str) -> None:
    assert not may_use_cache(TurnRequest(task=task))


@pytest.mark.parametrize(
    "task", ["I know it", "nowhere", "snow", "the currency", "todays", "slatest", "know_now_ing", ""]
)
def test_words_that_only_contain_such_words_do_not_count(task: str) -> None:
    assert may_use_cache(TurnRequest(task=task))


def test_the_caller_may_bypass_the_cache() -> None:
    assert not may_use_cache(TurnRequest(task="Add.", cache_mode=CacheMode.BYPASS))


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
    assert may_be_kept(Completed(reason)) is kept

"""What may be looked up and what may be kept."""

import re

from services.agent.conversation import Completed, FinishReason
from services.agent.request import CacheMode, TurnRequest

_TIME_SENSITIVE = re.compile(r"\b(now|current|currently|today|tonight|tomorrow|yesterday|latest)\b", re.IGNORECASE)
"""Whole words: "know" does not ask about now."""

_KEPT = (FinishReason.STOP, FinishReason.TOOL_CALLS)


def may_use_cache(request: TurnRequest) -> bool:
    """Whether the answer to this request may come from the cache and go into it."""
    return request.cache_mode is not CacheMode.BYPASS and not _TIME_SENSITIVE.search(request.task)


def may_be_kept(completed: Completed) -> bool:
    """Whether an answer that ended so is whole: cut-off and withheld answers are not kept."""
    return completed.finish_reason in _KEPT

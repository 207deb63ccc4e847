"""What a caller may ask for in one turn, and the check of it."""

import re
from enum import StrEnum
from typing import Any

import msgspec

from meshkit.cache_control import check_tags, check_ttl_seconds
from meshkit.errors import Reason, ShoalError, field_invalid, field_required
from meshkit.ids import ID_RULE, is_id
from services.agent.conversation import Message, Role, Sampling, Tool

MAX_STOPS = 4
MAX_TOOLS = 128

_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
"""NUL, and surrogates: halves of characters, which have no UTF-8."""
_TEXT_RULE = "be text without NUL characters and unpaired surrogates"
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class CacheMode(StrEnum):
    DEFAULT = "default"
    BYPASS = "bypass"
    REFRESH = "refresh"
    ONLY = "only"


class CacheControl(msgspec.Struct, frozen=True, kw_only=True):
    """How a turn may use the cache."""

    mode: CacheMode = CacheMode.DEFAULT
    ttl_seconds: int | None = None
    """How long the answer is fresh; None leaves it to the cache's policy."""
    tags: tuple[str, ...] = ()
    public: bool = False
    """Whether caches in front of Shoal may share the answer; here it changes nothing but what is reported."""


class TurnRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One turn, as asked for. Empty strings stand for what was left out."""

    task: str
    context: dict[str, Any] = {}
    session_id: str = ""
    user_id: str = ""
    model: str = ""
    sampling: Sampling = Sampling()
    tools: tuple[Tool, ...] = ()
    tool_choice: str = ""
    cache: CacheControl = CacheControl()
    history: tuple[Message, ...] = ()


def check(request: TurnRequest, *, task_max_bytes: int) -> None:
    """Raises ShoalError naming the first field that cannot be served."""
    _check_task(request, task_max_bytes)
    _check_context(request, task_max_bytes)
    check_id("session_id", request.session_id)
    check_id("user_id", request.user_id)
    if request.session_id and request.history:
        raise field_invalid("history", "be empty when session_id is given: the session is the history")
    _check_sampling(request.sampling)
    _check_tools(request)
    _check_cache(request.cache)
    _check_history(request.history)


def check_id(field: str, value: str) -> None:
    """Raises ShoalError unless `value` is empty or has the form of a session's or user's id."""
    if value and not is_id(value):
        raise field_invalid(field, ID_RULE)


def _check_task(request: TurnRequest, task_max_bytes: int) -> None:
    continues_a_tool_call = bool(request.history) and request.history[-1].role is Role.TOOL
    if not request.task.strip() and not continues_a_tool_call:
        raise field_required("task")
    if _NOT_TEXT.search(request.task):
        raise field_invalid("task", _TEXT_RULE)
    size = len(request.task.encode())
    if size > task_max_bytes:
        raise ShoalError(
            Reason.TASK_TOO_LONG,
            f"The task has {size:,} bytes; at most {task_max_bytes:,} are taken. Shorten it, or split it into turns.",
            field="task",
        )


def _check_context(request: TurnRequest, max_bytes: int) -> None:
    size = len(msgspec.json.encode(request.context))
    if size > max_bytes:
        raise field_invalid("context", f"have at most {max_bytes:,} bytes as JSON, not {size:,}")


def _check_sampling(sampling: Sampling) -> None:
    if sampling.max_tokens is not None and sampling.max_tokens < 1:
        raise field_invalid("max_tokens", "be 1 or more")
    if sampling.temperature is not None and not 0 <= sampling.temperature <= 2:
        raise field_invalid("temperature", "be between 0 and 2")
    if sampling.top_p is not None and not 0 < sampling.top_p <= 1:
        raise field_invalid("top_p", "be above 0 and at most 1")
    if len(sampling.stop) > MAX_STOPS or not all(sampling.stop):
        raise field_invalid("stop", f"hold at most {MAX_STOPS} strings, none of them empty")


def _check_tools(request: TurnRequest) -> None:
    names = [tool.name for tool in request.tools]
    if len(names) > MAX_TOOLS:
        raise field_invalid("tools", f"hold at most {MAX_TOOLS} tools")
    if not all(_TOOL_NAME.fullmatch(name) for name in names):
        raise field_invalid("tools", "have names of 1 to 64 characters of A-Z a-z 0-9 _ -")
    if len(set(names)) != len(names):
        raise field_invalid("tools", "have different names")
    if request.tool_choice == "required" and not names:
        raise field_invalid("tool_choice", "be required only where there are tools")
    if request.tool_choice and request.tool_choice not in {"auto", "none", "required", *names}:
        raise field_invalid("tool_choice", "be auto, none, required or the name of one of the tools")


def _check_cache(cache: CacheControl) -> None:
    if cache.ttl_seconds is not None:
        check_ttl_seconds("cache.ttl_seconds", cache.ttl_seconds)
    check_tags("cache.tags", cache.tags)


def _check_history(history: tuple[Message, ...]) -> None:
    asked: set[str] = set()
    for message in history:
        if _NOT_TEXT.search(message.content):
            raise field_invalid("history", _TEXT_RULE)
        if message.role is Role.TOOL and message.tool_call_id not in asked:
            raise field_invalid("history", "give every tool message the tool_call_id of a call before it")
        if message.tool_calls and message.role is not Role.ASSISTANT:
            raise field_invalid("history", "have tool_calls in assistant messages only")
        asked.update(call.id for call in message.tool_calls)

"""What to make of an answer of the front door to a line."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from launcher.cache.warming.tasks import Task


class Outcome(StrEnum):
    """What became of a line."""

    COMPUTED = "computed"
    PRESENT = "already there"
    PRESENT_WITH_ITS_TAGS = "already there, with the tags it had"
    FINISHED_BEFORE = "finished by an earlier run"
    DUPLICATE = "the same as an earlier line"
    NOT_CACHEABLE = "not cacheable"
    FAILED = "failed"


class Usage(msgspec.Struct, frozen=True):
    """Tokens and US dollars."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


NOTHING = Usage()


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a line."""

    outcome: Outcome
    reason: str = ""
    usage: Usage = NOTHING
    """What it took now."""


@dataclass(frozen=True, slots=True)
class TooOld:
    """The answer is there, and not for long any more: it is to be computed anew."""


@dataclass(frozen=True, slots=True)
class NotNow:
    """The same request may be answered later."""

    reason: str
    after_seconds: float | None = None
    """When, if that is known."""


@dataclass(frozen=True, slots=True)
class KeyRefused:
    """No line will be answered with this API key."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: bytes
    retry_after: str = ""
    """The header's value."""


_BYPASSED = "passes the cache by: it asks about now, or its tools act"
_NOT_KEPT = "was answered, and the answer not kept: "
_UNTOLD = "it is too large, for example, its tools changed something, or the cache was not there"
_CUT_OFF = "it was cut off at the limit of its tokens (finish_reason length); see max_tokens"
_WITHHELD = "the model withheld it (finish_reason content_filter)"
_EMPTY = "it is empty"

Verdict = Result | TooOld | NotNow | KeyRefused


class _CacheReport(msgspec.Struct, frozen=True):
    status: str
    age_seconds: float | None = None
    ttl_seconds: float | None = None


class _Answer(msgspec.Struct, frozen=True):
    cache: _CacheReport
    usage: Usage
    output: str
    finish_reason: str
    tool_calls: list[msgspec.Raw] = []


class _Problem(msgspec.Struct, frozen=True):
    error: str
    reason: str
    retry_after_seconds: float | None = None


def judge(reply: Reply, task: Task) -> Verdict:
    """What an answer means for the line that asked for it."""
    if reply.status == 200:
        return _judge_answer(reply, task)
    problem = _problem(reply)
    reason = f"{reply.status} {problem.reason}: {problem.error}"
    if reply.status in (429, 503):
        return NotNow(reason, _seconds(reply, problem))
    return KeyRefused(reason) if reply.status == 401 else Result(Outcome.FAILED, reason)


def _judge_answer(reply: Reply, task: Task) -> Verdict:
    try:
        answer = msgspec.json.decode(reply.body, type=_Answer)
    except msgspec.DecodeError:
        return Result(Outcome.FAILED, "was answered with 200, and not by Shoal")
    cache = answer.cache
    if cache.status == "hit":
        left = (cache.ttl_seconds or 0) - (cache.age_seconds or 0)
        # Which tags these are is not told.
        present = Outcome.PRESENT_WITH_ITS_TAGS if task.has_tags else Outcome.PRESENT
        return Result(present) if left >= task.ttl_seconds / 2 else TooOld()
    if cache.status == "bypass":
        return Result(Outcome.NOT_CACHEABLE, _BYPASSED, answer.usage)
    if not cache.ttl_seconds:
        return Result(Outcome.NOT_CACHEABLE, _NOT_KEPT + _why_not_kept(answer), answer.usage)
    return Result(Outcome.COMPUTED, usage=answer.usage)


def _why_not_kept(answer: _Answer) -> str:
    """As far as the answer tells."""
    if answer.finish_reason == "length":
        return _CUT_OFF
    if answer.finish_reason == "content_filter":
        return _WITHHELD
    return _UNTOLD if answer.output or answer.tool_calls else _EMPTY


def _problem(reply: Reply) -> _Problem:
    try:
        return msgspec.json.decode(reply.body, type=_Problem)
    except msgspec.DecodeError:
        words = " ".join(reply.body[:200].decode(errors="replace").split())
        return _Problem(error=words or "no explanation", reason="UNKNOWN")


def _seconds(reply: Reply, problem: _Problem) -> float | None:
    """The body is finer than the header, which has whole seconds."""
    if problem.retry_after_seconds is not None:
        return problem.retry_after_seconds
    return float(reply.retry_after) if reply.retry_after.isdigit() else None

"""A file of tasks, one a line, and what is asked of the front door for each."""

import codecs
import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

LINE_MAX_BYTES = 4 * 1024 * 1024
"""No gateway reads a larger body, whatever its settings."""
SESSION_REASON = "names a session: a turn in a conversation depends on what was said before, so it cannot be warmed"
MODES = ("default", "refresh")
"""Those of `cache.mode` that leave an answer in the cache."""
_MALFORMED = "JSON is malformed: "


class LineCache(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a line may say in `cache` itself."""

    mode: str = "default"
    ttl_seconds: int | None = None
    tags: list[str] = []
    public: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What holds for every line that does not say otherwise."""

    ttl_seconds: int
    tags: tuple[str, ...] = ()
    """Added to those of the line."""
    refresh: bool = False
    """Whether to compute every answer anew."""


@dataclass(frozen=True, slots=True)
class Task:
    """A line that can be sent."""

    line: int
    body: Mapping[str, Any]
    """Of POST /api/v1/task."""

    @property
    def ttl_seconds(self) -> int:
        ttl_seconds: int = self.body["cache"]["ttl_seconds"]
        return ttl_seconds

    @property
    def has_tags(self) -> bool:
        return bool(self.body["cache"]["tags"])

    def refreshing(self) -> "Task":
        """The same, computed anew whatever there is."""
        return Task(self.line, {**self.body, "cache": {**self.body["cache"], "mode": "refresh"}})

    def digest(self, destination: str) -> str:
        """The same for what comes to the same request at the same destination, whatever the order of its fields."""
        canonical = msgspec.json.encode([destination, self.body], order="deterministic")
        return hashlib.sha256(canonical).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be sent; the reason completes the sentence "line 7: ..."."""

    line: int
    reason: str


def read_tasks(file: BinaryIO, wishes: Wishes) -> Iterator[Task | BadLine]:
    """The lines in their order, without empty ones. Reads no further than it is asked for."""
    for number, text in _numbered_lines(file):
        if text is None:
            yield BadLine(number, f"is longer than {LINE_MAX_BYTES:,} bytes")
        elif text.strip():
            yield task_of(number, text, wishes)


def count_lines(file: BinaryIO) -> int:
    """How many tasks `read_tasks` will yield. Leaves the file at its beginning."""
    count = sum(text is None or bool(text.strip()) for _, text in _numbered_lines(file))
    file.seek(0)
    return count


def task_of(line: int, text: bytes, wishes: Wishes) -> Task | BadLine:
    """The request that a line asks for: a JSON object is its body, a JSON string is its task."""
    try:
        body = _body(text)
        cache = _line_cache(body.get("cache", {}))
    except _UnsendableError as error:
        return BadLine(line, str(error))
    # A stream and a plain answer are one entry; plain is easier to read.
    return Task(line, {**body, "stream": False, "cache": _asked_of_cache(cache, wishes)})


class _UnsendableError(Exception):
    """A line cannot be sent; the message is the reason of a BadLine."""


def _body(text: bytes) -> dict[str, Any]:
    """Raises _UnsendableError."""
    try:
        said = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _UnsendableError(f"is no JSON: {str(error).removeprefix(_MALFORMED)}") from None
    body = {"task": said} if isinstance(said, str) else said
    if not isinstance(body, dict):
        raise _UnsendableError("is neither a JSON string, the task, nor a JSON object, the body of a request")
    if body.get("session_id") is not None:
        raise _UnsendableError(SESSION_REASON)
    return body


def _line_cache(said: object) -> LineCache:
    """Raises _UnsendableError."""
    try:
        cache = msgspec.convert(said, LineCache)
    except msgspec.ValidationError as error:
        raise _UnsendableError(f"within cache: {error}") from None
    if cache.mode not in MODES:
        raise _UnsendableError(f"cache.mode must be {' or '.join(MODES)} here, not {cache.mode!r}")
    return cache


def _asked_of_cache(cache: LineCache, wishes: Wishes) -> dict[str, Any]:
    return {
        "mode": "refresh" if wishes.refresh else cache.mode,
        "ttl_seconds": wishes.ttl_seconds if cache.ttl_seconds is None else cache.ttl_seconds,
        "tags": list(dict.fromkeys([*cache.tags, *wishes.tags])),
        "public": cache.public,
    }


def _numbered_lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Each line with its number from 1; None for one that is too long, of which no more than the limit is held."""
    for number in itertools.count(1):
        line = file.readline(LINE_MAX_BYTES + 1)
        if not line:
            return
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if len(line) > LINE_MAX_BYTES:
            _skip_line(file, line)
        yield number, line if len(line) <= LINE_MAX_BYTES else None


def _skip_line(file: BinaryIO, read: bytes) -> None:
    while read and not read.endswith(b"\n"):
        read = file.readline(LINE_MAX_BYTES)

"""Structured logs on standard output: JSON, or lines for people on a terminal."""

import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Literal

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from meshkit import call
from meshkit.log_lines import LogLines

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "console"]

_ENCODER = msgspec.json.Encoder(enc_hook=str)


def configure(*, service: str, replica: str, level: Level, form: Format) -> None:
    """Sets up logging for the process, that of libraries included. Called once, at its start."""
    as_json = form == "json" or (form == "auto" and not sys.stdout.isatty())
    note: Processor = partial(_noted, {"service": service, "replica": replica})
    told: list[Processor] = [note, structlog.processors.format_exc_info] if as_json else [note]
    render = _json_lines if as_json else _console()
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=told,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda _logger, _method, event: render([event]).rstrip("\n"),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(logging.WARNING, _number(level)), force=True)
    lines = LogLines(sys.stdout, render=render)
    structlog.configure(
        processors=[*told, lambda _logger, _method, event: ((event,), {})],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )


def _noted(origin: Mapping[str, str], _logger: object, method: str, event: EventDict) -> EventDict:
    """The event with all that has to be known at its time; it is written later, with others."""
    event["level"] = method
    event["timestamp"] = datetime.now(UTC)
    event.update(origin)
    if request_id := call.logged_request_id():
        event["request_id"] = request_id
    return event


def _console() -> Callable[[Sequence[EventDict]], str]:
    renderer = structlog.dev.ConsoleRenderer()
    return lambda events: "".join(f"{renderer(None, '', _with_text_time(event))}\n" for event in events)


def _with_text_time(event: EventDict) -> EventDict:
    return {**event, "timestamp": event["timestamp"].isoformat()}


def _number(level: Level) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


def _json_lines(events: Sequence[EventDict]) -> str:
    try:
        return _ENCODER.encode_lines(events).decode()
    except (UnicodeEncodeError, RecursionError):
        return "".join(map(_json_line, events))


def _json_line(event: EventDict) -> str:
    try:
        return f"{_ENCODER.encode(event).decode()}\n"
    except (UnicodeEncodeError, RecursionError):
        # Unpaired surrogates or a value that holds itself: told in ASCII, for a line of the log must never be an error.
        told = _with_text_time(event).items()
        return f"{json.dumps({name: value if isinstance(value, str) else repr(value) for name, value in told})}\n"

"""Structured logs on standard output: JSON, or lines for people on a terminal."""

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
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
Told = tuple[float, EventDict]
"""When, in Unix time, and what."""


def configure(*, service: str, replica: str, level: Level, form: Format) -> None:
    """Sets up logging for the process, that of libraries included. Called once, at its start."""
    as_json = form == "json" or (form == "auto" and not sys.stdout.isatty())
    told: list[Processor] = [_add_call, structlog.processors.add_log_level]
    if as_json:
        told.append(structlog.processors.format_exc_info)
    render = partial(_rendered, {"service": service, "replica": replica}, _json if as_json else _console())
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=told,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda _logger, _method, event: render((time.time(), event)),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(logging.WARNING, _number(level)), force=True)
    lines = LogLines(sys.stdout, render=render)
    structlog.configure(
        processors=[*told, _dated],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )


def _add_call(_logger: object, _method: str, event: EventDict) -> EventDict:
    if request_id := call.logged_request_id():
        event["request_id"] = request_id
    return event


def _dated(_logger: object, _method: str, event: EventDict) -> tuple[tuple[Told], dict[str, object]]:
    """What a line is given to LogLines as; it is rendered there, with others."""
    return ((time.time(), event),), {}


def _rendered(origin: Mapping[str, str], renderer: Callable[[EventDict], str], told: Told) -> str:
    seconds, event = told
    written = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
    return renderer({**event, **origin, "timestamp": f"{written}Z"})


def _console() -> Callable[[EventDict], str]:
    renderer = structlog.dev.ConsoleRenderer()
    return lambda event: renderer(None, "", event)


def _number(level: Level) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


def _json(event: EventDict) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=str).decode()
    except (UnicodeEncodeError, RecursionError):
        # Unpaired surrogates or a value that holds itself: told in ASCII, for a line of the log must never be an error.
        return json.dumps({name: value if isinstance(value, str) else repr(value) for name, value in event.items()})

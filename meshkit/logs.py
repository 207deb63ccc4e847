"""Structured logs on standard output: JSON, or lines for people on a terminal."""

import json
import logging
import sys
from collections.abc import Mapping
from functools import partial
from typing import Literal

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from meshkit import call
from meshkit.log_lines import LogLines

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "console"]


def configure(*, service: str, replica: str, level: Level, form: Format) -> None:
    """Sets up logging for the process, that of libraries included. Called once, at its start."""
    as_json = form == "json" or (form == "auto" and not sys.stdout.isatty())
    shared: list[Processor] = [
        partial(_add_origin, service, replica),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderers: list[Processor] = [structlog.dev.ConsoleRenderer()]
    if as_json:
        renderers = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(logging.WARNING, _number(level)), force=True)
    lines = LogLines(sys.stdout)
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )


def _add_origin(service: str, replica: str, _logger: object, _method: str, event: EventDict) -> EventDict:
    event["service"], event["replica"] = service, replica
    if request_id := call.logged_request_id():
        event["request_id"] = request_id
    return event


def _number(level: Level) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


def _json(event: Mapping[str, object], **_: object) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=str).decode()
    except (UnicodeEncodeError, RecursionError):
        # Unpaired surrogates or a value that holds itself: told in ASCII, for a line of the log must never be an error.
        return json.dumps({name: value if isinstance(value, str) else repr(value) for name, value in event.items()})

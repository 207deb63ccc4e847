"""Log lines of a process: JSON with the request id in it, and never an error themselves."""

import json
import subprocess
import sys
from typing import Any

PROGRAM = """
import contextvars
import logging
import structlog
from meshkit import call, logs

log = structlog.get_logger()
logs.configure(service="test", replica="test-1", level={level!r}, form={form!r})
{body}
"""


def output(body: str, *, level: str = "info", form: str = "json") -> list[str]:
    """What a process prints that logs so."""
    program = PROGRAM.format(body=body, level=level, form=form)
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stderr == ""
    return finished.stdout.splitlines()


def lines(body: str, *, level: str = "info") -> list[dict[str, Any]]:
    return [json.loads(line) for line in output(body, level=level)]


def test_a_line_says_what_happened_where_and_when() -> None:
    (line,) = lines('log.info("rpc", seconds=0.5)')
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "rpc", "seconds": 0.5, "service": "test", "replica": "test-1", "level": "info"}


def test_every_line_of_a_call_carries_its_request_id() -> None:
    body = """
log.info("before")

def a_call():
    call.identify("request-1")
    log.info("inside")
    logging.getLogger("library").warning("of a library")

contextvars.copy_context().run(a_call)
log.info("after")
"""
    assert [(line["event"], line.get("request_id")) for line in lines(body)] == [
        ("before", None),
        ("inside", "request-1"),
        ("of a library", "request-1"),
        ("after", None),
    ]


def test_less_than_the_level_is_not_logged() -> None:
    body = 'log.debug("a"); log.info("b"); log.warning("c"); log.error("d")'
    assert [line["event"] for line in lines(body, level="warning")] == ["c", "d"]
    assert [line["event"] for line in lines(body, level="debug")] == ["a", "b", "c", "d"]


def test_libraries_tell_warnings_only() -> None:
    body = 'logging.getLogger("library").info("chatter"); logging.getLogger("library").error("trouble")'
    assert [line["event"] for line in lines(body, level="debug")] == ["trouble"]


def test_an_exception_is_one_line() -> None:
    (line,) = lines("""
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
""")
    assert "ZeroDivisionError" in line["exception"]
    assert line["event"] == "failed"


def test_odd_values_break_no_line() -> None:
    body = r"""
circle = []
circle.append(circle)
for value in (object(), {1, 2}, b"\xff", float("nan"), 2**200, {None: 1}, "two\nlines", "\x1b[31m", "\ud800", circle):
    log.info("odd", value=value)
"""
    logged = lines(body)
    assert [line["event"] for line in logged] == ["odd"] * 10
    assert logged[6]["value"] == "two\nlines"
    assert logged[8]["value"] == "\ud800"


def test_what_is_told_last_is_written_before_the_process_ends() -> None:
    body = """
import asyncio
async def work():
    log.info("first")
    log.info("last")
asyncio.run(work())
log.info("after all")
"""
    assert [line["event"] for line in lines(body)] == ["first", "last", "after all"]


def test_people_read_lines_and_not_json() -> None:
    (line,) = output('log.info("serving", port=9000)', form="console")
    assert "serving" in line
    assert not line.startswith("{")


def test_without_a_terminal_the_form_is_json() -> None:
    (line,) = output('log.info("serving")', form="auto")
    assert json.loads(line)["event"] == "serving"

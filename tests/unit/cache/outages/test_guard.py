"""The guard around the uses of a server."""

import pytest
from structlog.testing import capture_logs

from services.cache.outages.breaker import LATE_IN_A_ROW
from services.cache.outages.guard import Guard
from services.cache.outages.outage import Outage

PAUSE = 1.0


class OutError(Exception):
    """What the users of the server are told."""


class Server:
    """A server that can be out, behind its guard, with a clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.failure: Exception | None = None
        self.calls = 0
        self._guard = Guard(
            Outage("the server", setting="SHOAL_SERVER_URL"),
            failures=(OSError,),
            late=(TimeoutError,),
            refusal=OutError,
            meanwhile="nothing else changes",
            clock=lambda: self.seconds,
            pause_seconds=PAUSE,
        )

    def call(self) -> None:
        with self._guard.use():
            self.calls += 1
            if self.failure:
                raise self.failure

    def fails(self, failure: Exception) -> None:
        self.failure = failure
        with pytest.raises(OutError, match="failed"):
            self.call()


def test_a_failure_is_told_in_the_words_of_the_user_and_why() -> None:
    server = Server()
    server.failure = OSError("gone")
    with pytest.raises(OutError, match="the server failed") as refusal:
        server.call()
    assert refusal.value.__cause__ is server.failure


def test_a_server_that_failed_costs_one_call_per_pause() -> None:
    server = Server()
    for _ in range(3):
        server.fails(OSError("gone"))
        for _ in range(10):
            with pytest.raises(OutError, match="left alone"):
                server.call()
        server.seconds += PAUSE
    assert server.calls == 3


def test_a_server_that_is_late_is_left_alone_only_when_it_is_late_again_and_again() -> None:
    server = Server()
    for _ in range(LATE_IN_A_ROW):
        server.fails(TimeoutError())
    with pytest.raises(OutError, match="left alone"):
        server.call()


def test_a_late_answer_is_no_change_of_state_and_not_logged() -> None:
    server = Server()
    with capture_logs() as lines:
        server.fails(TimeoutError())
        server.failure = None
        server.call()
    assert lines == []


def test_a_server_that_answers_again_is_used_again() -> None:
    server = Server()
    server.fails(OSError("gone"))
    server.failure = None
    server.seconds += PAUSE
    for _ in range(10):
        server.call()
    assert server.calls == 11


def test_an_error_of_ours_is_no_failure_of_the_server() -> None:
    server = Server()
    server.failure = ValueError("a bug")
    for _ in range(2):
        with pytest.raises(ValueError, match="a bug"):
            server.call()


def test_each_change_of_state_is_logged_once_with_what_to_do() -> None:
    server = Server()
    with capture_logs() as lines:
        for failure in (None, OSError("gone"), OSError("gone"), None, None, OSError("gone")):
            server.failure = failure
            server.seconds += PAUSE
            try:
                server.call()
            except OutError:
                continue
    assert [line["log_level"] for line in lines] == ["warning", "info", "warning"]
    assert {line["server"] for line in lines} == {"the server"}
    assert (lines[0]["setting"], lines[0]["meanwhile"]) == ("SHOAL_SERVER_URL", "nothing else changes")
    assert "gone" in lines[0]["cause"]

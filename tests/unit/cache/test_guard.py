"""The guard around the uses of a level's server."""

import pytest
from structlog.testing import capture_logs

from services.cache.levels.guard import Guard
from services.cache.levels.level import LevelUnavailableError

PAUSE = 1.0


class Server:
    """A server that can be out, behind its guard, with a clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.failure: Exception | None = None
        self.calls = 0
        self._guard = Guard("the server", failures=(OSError,), clock=lambda: self.seconds, pause_seconds=PAUSE)

    def call(self) -> None:
        with self._guard.use():
            self.calls += 1
            if self.failure:
                raise self.failure


def test_a_failure_says_that_the_level_is_unavailable_and_why() -> None:
    server = Server()
    server.failure = OSError("gone")
    with pytest.raises(LevelUnavailableError, match="the server failed") as refusal:
        server.call()
    assert refusal.value.__cause__ is server.failure


def test_a_server_that_failed_costs_one_call_per_pause() -> None:
    server = Server()
    server.failure = OSError("gone")
    for _ in range(3):
        with pytest.raises(LevelUnavailableError, match="failed"):
            server.call()
        for _ in range(10):
            with pytest.raises(LevelUnavailableError, match="left alone"):
                server.call()
        server.seconds += PAUSE
    assert server.calls == 3


def test_a_server_that_answers_again_is_used_again() -> None:
    server = Server()
    server.failure = OSError("gone")
    with pytest.raises(LevelUnavailableError):
        server.call()
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


def test_each_change_of_state_is_logged_once() -> None:
    server = Server()
    with capture_logs() as lines:
        for failure in (None, OSError("gone"), OSError("gone"), None, None, OSError("gone")):
            server.failure = failure
            server.seconds += PAUSE
            try:
                server.call()
            except LevelUnavailableError:
                continue
    assert [line["log_level"] for line in lines] == ["warning", "info", "warning"]
    assert {line["server"] for line in lines} == {"the server"}

"""What stands between a level and its server: the breaker, and one line in the log for each change of state."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from services.cache.levels.breaker import Breaker
from services.cache.levels.level import LevelUnavailableError

PAUSE_SECONDS = 1.0
"""How long a server is left alone after a failure."""

log = structlog.get_logger()


class Guard:
    """Goes around each use of a server, so that one that fails costs one call per pause.

    `server` is its name for the log, `failures` are the exceptions that say that it cannot be used, `clock` is a steady
    clock in seconds, such as time.monotonic.
    """

    def __init__(
        self,
        server: str,
        *,
        failures: tuple[type[Exception], ...],
        clock: Callable[[], float],
        pause_seconds: float,
    ) -> None:
        self._server = server
        self._failures = failures
        self._clock = clock
        self._breaker = Breaker(pause_seconds=pause_seconds)

    @contextmanager
    def use(self) -> Iterator[None]:
        """Raises LevelUnavailableError if the server fails now, or failed a short while ago."""
        if not self._breaker.allows(self._clock()):
            raise LevelUnavailableError(f"{self._server} is left alone after a failure")
        try:
            yield
        except self._failures as error:
            if self._breaker.record_failure(self._clock()):
                log.warning("a cache level is out; going on without it", server=self._server, error=repr(error))
            raise LevelUnavailableError(f"{self._server} failed") from error
        if self._breaker.record_success():
            log.info("a cache level is back", server=self._server)

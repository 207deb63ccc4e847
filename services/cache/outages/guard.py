"""What stands before each use of a server: the breaker, and one line in the log for each change of state."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.cache.outages.breaker import Breaker
from services.cache.outages.outage import Outage

PAUSE_SECONDS = 1.0
"""How long a server that is out is left alone."""


class Guard:
    """Goes around each use of a server, so that one that is out costs one call per pause.

    `failures` are the exceptions that say that it cannot be used, `late` those of them that say only that it took too
    long; both become `refusal`. `meanwhile` says in the log what holds during an outage. `clock` is a steady clock in
    seconds, such as time.monotonic.
    """

    def __init__(
        self,
        outage: Outage,
        *,
        failures: tuple[type[Exception], ...],
        late: tuple[type[Exception], ...] = (TimeoutError,),
        refusal: type[Exception],
        meanwhile: str,
        clock: Callable[[], float],
        pause_seconds: float,
    ) -> None:
        self._outage = outage
        self._failures = failures
        self._late = late
        self._refusal = refusal
        self._meanwhile = meanwhile
        self._clock = clock
        self._breaker = Breaker(pause_seconds=pause_seconds)

    @contextmanager
    def use(self) -> Iterator[None]:
        """Raises the refusal if the server fails now or is late, or is left alone since it is out."""
        began = self._clock()
        if not self._breaker.allows(began):
            raise self._refusal("the server is out, and left alone for a while")
        try:
            yield
        except self._failures as error:
            self._record(error, began)
            raise self._refusal("the server failed") from error
        self._breaker.record_success()
        self._outage.end()

    def _record(self, error: Exception, began: float) -> None:
        if isinstance(error, self._late):
            self._breaker.record_late(self._clock(), began=began)
        else:
            self._breaker.record_failure(self._clock())
        if self._breaker.is_open:
            self._outage.begin(error, meanwhile=self._meanwhile)

"""Where reservations are remembered: the port, and an implementation in memory."""

from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

from services.ratelimit.limits import CallerLimits
from services.ratelimit.reservations.reservation import Account, Answer, Request


class ReservationStore(Protocol):
    """Remembers the reservations of callers, each by its `key_id`; the limits are those that hold now.

    Every operation is atomic, and may be sent again if its answer was lost. All raise BucketsUnreachableError.
    """

    async def reserve(self, key_id: str, limits: CallerLimits, request: Request) -> Answer:
        """Takes the tokens and a place, or neither; nothing if the reservation is there already."""
        ...

    async def renew(self, key_id: str, limits: CallerLimits, name: str, ttl_micros: int) -> Answer:
        """Makes a reservation last that long from now on, if it is still there."""
        ...

    async def settle(self, key_id: str, limits: CallerLimits, name: str, used: int) -> Answer:
        """Ends a reservation and charges for 0 to 2**32 - 1 tokens, once for each name."""
        ...

    async def peek(self, key_id: str, limits: CallerLimits) -> Answer:
        """Looks, and changes nothing."""
        ...


class InMemoryReservationStore:
    """Reservations of one process. No caller is ever forgotten, so it suits a bounded set of them.

    `clock` tells the time in microseconds.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._accounts: defaultdict[str, Account] = defaultdict(Account)

    async def reserve(self, key_id: str, limits: CallerLimits, request: Request) -> Answer:
        return self._accounts[key_id].reserve(limits, request, self._clock())

    async def renew(self, key_id: str, limits: CallerLimits, name: str, ttl_micros: int) -> Answer:
        return self._accounts[key_id].renew(limits, name, ttl_micros, self._clock())

    async def settle(self, key_id: str, limits: CallerLimits, name: str, used: int) -> Answer:
        return self._accounts[key_id].settle(limits, name, used, self._clock())

    async def peek(self, key_id: str, limits: CallerLimits) -> Answer:
        return self._accounts[key_id].peek(limits, self._clock())

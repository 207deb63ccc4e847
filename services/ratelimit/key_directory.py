"""The API keys that a limiter has in memory, and when it asks the store about them."""

import asyncio
import heapq
import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NoReturn

from meshkit.errors import Reason, ShoalError
from services.ratelimit.keys import ApiKey, KeyStore
from services.ratelimit.patience import in_time

STALE_SECONDS = 5.0
"""How long an answer counts. So long may a key that was changed through another limiter still be what it was."""
REFRESH_SECONDS = 2.0
"""How often known keys are asked about in the background: soon enough that a key in use is never stale."""
OUTAGE_SECONDS = 60.0
"""How long after its last answer a known key goes on while the store fails."""
REMEMBERED = 10_000
"""How many answers are kept of each kind, known and unknown, so that guessed keys do not push out good ones."""
ASKED_TOGETHER = 500
"""How many keys one question of the background is about."""
PATIENCE_SECONDS = 0.1
"""How long a request with a known key waits for the store, apart from the lateness of our own event loop."""


@dataclass(slots=True)
class _Known:
    key: ApiKey
    asked_at: float
    used_at: float

    def is_in_use(self) -> bool:
        """Whether it was used since it was last asked about."""
        return self.used_at > self.asked_at


class KeyDirectory:
    """Remembers good keys, of which those that were not used for longest make room, and for a short time bad ones.

    Times are in seconds on one clock that never steps back. `count` is told how each look-up came out, `learned` of
    the good keys in each answer of the store.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        count: Callable[[str], None],
        learned: Callable[[Collection[ApiKey]], None],
        remembered: int = REMEMBERED,
    ) -> None:
        self._store = store
        self._count = count
        self._learned = learned
        self._remembered = remembered
        # In the order of use, and of asking.
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._running: dict[str, asyncio.Task[ApiKey | None]] = {}
        self._store_fails = False

    def is_new(self, key_hash: str, now: float) -> bool:
        """Whether `find` would ask the store about a key of which nothing is known and that nobody is asking about."""
        return key_hash not in self._known and key_hash not in self._running and not self._is_unknown(key_hash, now)

    async def find(self, key_hash: str, now: float) -> ApiKey | None:
        """The good key with that hash.

        Raises ShoalError DATABASE_UNAVAILABLE if the store cannot say and memory does not reach; that is not
        remembered.
        """
        known = self._known.get(key_hash)
        if known is not None:
            return await self._find_known(key_hash, known, now)
        if self._is_unknown(key_hash, now):
            self._count("remembered")
            return None
        return await self._ask_together(key_hash, now)

    def forget(self, key_hash: str) -> None:
        """The next look-up asks the store, and what was asked before is not remembered when it is answered."""
        self._unknown.pop(key_hash, None)
        self._running.pop(key_hash, None)
        known = self._known.get(key_hash)
        if known is not None:
            # It stays one that is known, whose look-ups nobody has to pay for.
            self._known[key_hash] = _Known(known.key, asked_at=-math.inf, used_at=known.used_at)

    async def load(self, now: float) -> None:
        """Learns the youngest keys, so that a limiter that has just started knows them. If the store cannot say, they
        are found one by one."""
        try:
            youngest = await self._store.recent(self._remembered)
        except ShoalError:
            return
        self._learned(youngest)
        for key in reversed(youngest):
            self._remember(key.hash, key, now)

    async def run(self, clock: Callable[[], float]) -> NoReturn:
        """Keeps what is known fresh for as long as it is used."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.refresh(clock())

    async def refresh(self, now: float) -> None:
        """Asks again about the keys that were used since they were last asked about, and about some of the others,
        those first that were not asked about for longest."""
        in_use = [key_hash for key_hash, known in self._known.items() if known.is_in_use()]
        idle = [(known.asked_at, key_hash) for key_hash, known in self._known.items() if not known.is_in_use()]
        due = in_use + [key_hash for _, key_hash in heapq.nsmallest(ASKED_TOGETHER, idle)]
        try:
            for start in range(0, len(due), ASKED_TOGETHER):
                await self._ask_again(due[start : start + ASKED_TOGETHER], now)
        except ShoalError:
            self._store_fails = True

    async def _ask_again(self, hashes: Sequence[str], now: float) -> None:
        before = {key_hash: known for key_hash in hashes if (known := self._known.get(key_hash))}
        good = await self._store.find_many(list(before))
        self._store_fails = False
        self._learned(good.values())
        for key_hash, known in before.items():
            # Not if it was forgotten or answered otherwise meanwhile.
            if self._known.get(key_hash) is known:
                self._remember(key_hash, good.get(key_hash), now)

    async def _find_known(self, key_hash: str, known: _Known, now: float) -> ApiKey | None:
        age = now - known.asked_at
        known.used_at = now
        self._known.move_to_end(key_hash)
        if age < STALE_SECONDS:
            self._count("remembered")
            return known.key
        if self._store_fails and age < OUTAGE_SECONDS:
            # `refresh` finds out when it works again; no request waits for that.
            self._count("outlasted")
            return known.key
        try:
            return await in_time(self._ask_together(key_hash, now), seconds=PATIENCE_SECONDS)
        except (ShoalError, TimeoutError) as error:
            self._store_fails = True
            if age < OUTAGE_SECONDS:
                self._count("outlasted")
                return known.key
            raise ShoalError(
                Reason.DATABASE_UNAVAILABLE, "The database of API keys does not answer now; try again."
            ) from error

    async def _ask_together(self, key_hash: str, now: float) -> ApiKey | None:
        """Callers who ask about the same key share one question. One that leaves does not take it from the others."""
        running = self._running.get(key_hash)
        if running is None:
            running = self._running[key_hash] = asyncio.create_task(self._ask(key_hash, now))
        return await asyncio.shield(running)

    async def _ask(self, key_hash: str, now: float) -> ApiKey | None:
        outcome = "failed"
        try:
            key = await self._store.find(key_hash)
            outcome = "known" if key else "unknown"
            self._store_fails = False
        finally:
            self._count(outcome)
            is_wanted = self._running.get(key_hash) is asyncio.current_task()
            if is_wanted:
                del self._running[key_hash]
        if is_wanted:
            self._remember(key_hash, key, now)
        if key is not None:
            self._learned([key])
        return key

    def _is_unknown(self, key_hash: str, now: float) -> bool:
        asked_at = self._unknown.get(key_hash)
        return asked_at is not None and now - asked_at < STALE_SECONDS

    def _remember(self, key_hash: str, key: ApiKey | None, asked_at: float) -> None:
        self._unknown.pop(key_hash, None)
        if key is None:
            self._known.pop(key_hash, None)
            self._make_room(self._unknown)
            self._unknown[key_hash] = asked_at
            return
        known = self._known.get(key_hash)
        if known is None:
            self._make_room(self._known)
        # A known key keeps its place in the order of use.
        self._known[key_hash] = _Known(key, asked_at, used_at=known.used_at if known else asked_at)

    def _make_room(self, answers: OrderedDict[str, _Known] | OrderedDict[str, float]) -> None:
        if len(answers) >= self._remembered:
            answers.popitem(last=False)

"""Look-ups of API keys, remembered for a few seconds."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from services.ratelimit.keys import ApiKey, KeyStore

STALE_SECONDS = 5.0
"""How long an answer counts. So long may a key that was revoked through another process still work."""
REMEMBERED = 10_000
"""How many answers are kept of each kind, known and unknown, so that guessed keys do not push out good ones."""


@dataclass(frozen=True, slots=True)
class _Answer:
    key: ApiKey | None
    asked_at: float


class KeyDirectory:
    """Asks the store at most once at a time for each hash. `count` is told how each look-up came out."""

    def __init__(self, store: KeyStore, *, count: Callable[[str], None], remembered: int = REMEMBERED) -> None:
        self._store = store
        self._count = count
        self._remembered = remembered
        self._known: dict[str, _Answer] = {}
        self._unknown: dict[str, _Answer] = {}
        self._running: dict[str, asyncio.Task[ApiKey | None]] = {}

    async def find(self, key_hash: str, now: float) -> ApiKey | None:
        """The good key with that hash. `now` is in seconds on a clock that never steps back.

        Raises ShoalError DATABASE_UNAVAILABLE if the store cannot say; that is not remembered.
        """
        answer = self._known.get(key_hash) or self._unknown.get(key_hash)
        if answer is not None and now - answer.asked_at < STALE_SECONDS:
            self._count("remembered")
            return answer.key
        running = self._running.get(key_hash)
        if running is None:
            running = self._running[key_hash] = asyncio.create_task(self._ask(key_hash, now))
        # Callers share the question, so one that leaves must not take it away from the others.
        return await asyncio.shield(running)

    def forget(self, key_hash: str) -> None:
        """The next look-up asks the store, and what was asked before is not remembered when it is answered."""
        self._known.pop(key_hash, None)
        self._unknown.pop(key_hash, None)
        self._running.pop(key_hash, None)

    async def _ask(self, key_hash: str, now: float) -> ApiKey | None:
        outcome = "failed"
        try:
            key = await self._store.find(key_hash)
            outcome = "known" if key else "unknown"
        finally:
            self._count(outcome)
            is_wanted = self._running.get(key_hash) is asyncio.current_task()
            if is_wanted:
                del self._running[key_hash]
        if is_wanted:
            self._remember(key_hash, _Answer(key, now))
        return key

    def _remember(self, key_hash: str, answer: _Answer) -> None:
        """The oldest answer makes room; the order in a dict is that of asking."""
        self._known.pop(key_hash, None)
        self._unknown.pop(key_hash, None)
        answers = self._known if answer.key else self._unknown
        if len(answers) >= self._remembered:
            del answers[next(iter(answers))]
        answers[key_hash] = answer
